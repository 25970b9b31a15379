// Draws a class map over its frame: overlay, mask, cut-out, blur or replaced background; a classic script.
"use strict";

class Painter {
  constructor(canvas, spec) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.spec = spec;
    this.mask = new OffscreenCanvas(1, 1).getContext("2d");
    this.layer = new OffscreenCanvas(1, 1).getContext("2d");
    this.colors = new Uint32Array(256);
  }

  // Draws, and returns the share of the image of each class, and of what is no class, in [0, 1].
  draw(frame, [width, height], classMap, place, look) {
    for (const canvas of [this.canvas, this.layer.canvas]) {
      if (canvas.width !== width || canvas.height !== height) {
        canvas.width = width;
        canvas.height = height;
      }
    }
    const counts = this.paint(classMap, place, look);
    const total = counts.reduce((sum, count) => sum + count, 0);
    const {context} = this;
    context.globalAlpha = 1;
    context.clearRect(0, 0, width, height);
    if (look.view === "blur") drawBlurred(context, frame, width, height);
    if (look.view === "replace") {
      context.fillStyle = look.background;
      context.fillRect(0, 0, width, height);
    }
    if (look.view === "overlay") context.drawImage(frame, 0, 0, width, height);
    if (look.keeps) {
      // The classes that are kept, as a stencil with soft edges, and the frame where it is.
      const {layer} = this;
      layer.globalCompositeOperation = "copy";
      layer.imageSmoothingEnabled = true;
      layer.drawImage(this.mask.canvas, 0, 0, width, height);
      layer.globalCompositeOperation = "source-in";
      layer.drawImage(frame, 0, 0, width, height);
      context.drawImage(layer.canvas, 0, 0);
    } else {
      if (look.view === "mask") {
        context.fillStyle = "#000";
        context.fillRect(0, 0, width, height);
      } else {
        context.globalAlpha = look.alpha;
      }
      context.imageSmoothingEnabled = false;  // nearest neighbor, as edgeseg.imaging.restore
      context.drawImage(this.mask.canvas, 0, 0, width, height);
    }
    const unknown = counts.pop() / total;
    return {shares: counts.map((count) => count / total), unknown};
  }

  // Looks the part of the class map that the image covers up in the palette; counts the classes of it. A map smaller
  // than the input, as SegNet's, is enlarged to it first, by the nearest pixel, as edgeseg.segmenter does.
  paint(classMap, place, look) {
    const {ids, height, width} = classMap;
    const [inputHeight, inputWidth] = this.spec.input_size;
    const nearest = (at, own, input) => (own === input ? at : Math.floor(((at + 0.5) * own) / input));
    this.colors.fill(0);
    this.spec.palette.forEach(([red, green, blue], id) => {
      if (look.shown[id]) this.colors[id] = ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
    });
    const image = new ImageData(place.width, place.height);
    const painted = new Uint32Array(image.data.buffer);
    const unknown = this.spec.class_names.length;
    const counts = new Array(unknown + 1).fill(0);  // the last: what is no class, see UNKNOWN in app.js
    const soft = look.keeps && classMap.scores ? shownShare(classMap, look.shown) : null;
    const columns = Int32Array.from({length: place.width}, (_, x) => nearest(x + place.left, width, inputWidth));
    for (let y = 0, to = 0; y < place.height; y++) {
      const row = nearest(y + place.top, height, inputHeight) * width;
      for (let x = 0; x < place.width; x++) {
        const id = ids[row + columns[x]];
        counts[Math.min(id, unknown)]++;
        painted[to] = this.colors[id];
        if (soft) image.data[4 * to + 3] = soft(row + columns[x]);
        to++;
      }
    }
    if (this.mask.canvas.width !== place.width || this.mask.canvas.height !== place.height) {
      this.mask.canvas.width = place.width;
      this.mask.canvas.height = place.height;
    }
    this.mask.putImageData(image, 0, 0);
    return counts;
  }
}

// Makes a function from a pixel to the probability that it is of a shown class, in 0..255: a stencil with soft edges.
function shownShare({scores, channels}, shown) {
  const kept = shown.flatMap((is, id) => (is ? [id] : []));
  const [scale, zero] = scores instanceof Float32Array ? [255, 0] : [1, scores instanceof Int8Array ? -128 : 0];
  return (pixel) => kept.reduce((sum, id) => sum + (scores[pixel * channels + id] - zero) * scale, 0);
}

// Blurs by scaling down and up where the browser's canvas has no filters (Safari).
function drawBlurred(context, frame, width, height) {
  context.drawImage(frame, 0, 0, width, height);  // a blurred one has a border that is half transparent
  if (context.filter !== undefined) {
    context.filter = `blur(${Math.round(width / 50)}px)`;
    context.drawImage(frame, 0, 0, width, height);
    context.filter = "none";
    return;
  }
  const small = new OffscreenCanvas(Math.ceil(width / 24), Math.ceil(height / 24));
  small.getContext("2d").drawImage(frame, 0, 0, small.width, small.height);
  context.imageSmoothingEnabled = true;
  context.drawImage(small, 0, 0, width, height);
}
