// Turns pixels into a model's input, to the bit as edgeseg.imaging.preprocess does; a classic script, for importScripts.
"use strict";

// Where an image of width x height lies in the input: as edgeseg.imaging.placement_of.
function placementOf(width, height, spec) {
  const [targetHeight, targetWidth] = spec.input_size;
  let newHeight = targetHeight, newWidth = targetWidth;
  if (spec.fit === "letterbox") {
    const scale = Math.min(targetHeight / height, targetWidth / width);
    const toWhole = spec.letterbox_rounding === "floor" ? Math.floor : roundHalfToEven;
    newHeight = Math.max(1, Math.min(targetHeight, toWhole(height * scale)));
    newWidth = Math.max(1, Math.min(targetWidth, toWhole(width * scale)));
  }
  return {
    top: (targetHeight - newHeight) >> 1,
    left: (targetWidth - newWidth) >> 1,
    height: newHeight,
    width: newWidth,
  };
}

// Python's round() and OpenCV's cvRound.
function roundHalfToEven(value) {
  const floor = Math.floor(value), rest = value - floor;
  if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
  return floor % 2 === 0 ? floor : floor + 1;
}

// One axis of cv2.resize with INTER_LINEAR on bytes: for each place the pixel before it, the one after, and two weights
// of 11 bits. Columns beyond the edge take its pixel with all the weight; rows keep their weights, and the pixel repeats.
function linearAxis(from, to, clampWeights) {
  const scale = from / to;
  const before = new Int32Array(to), after = new Int32Array(to);
  const near = new Int32Array(to), far = new Int32Array(to);
  for (let place = 0; place < to; place++) {
    let position = Math.fround((place + 0.5) * scale - 0.5);
    let pixel = Math.floor(position);
    position = Math.fround(position - pixel);
    if (clampWeights && (pixel < 0 || pixel >= from - 1)) {
      pixel = pixel < 0 ? 0 : from - 1;
      position = 0;
    }
    before[place] = Math.min(Math.max(pixel, 0), from - 1);
    after[place] = Math.min(Math.max(pixel + 1, 0), from - 1);
    near[place] = roundHalfToEven(Math.fround(Math.fround(1 - position) * 2048));
    far[place] = roundHalfToEven(Math.fround(position * 2048));
  }
  return {before, after, near, far};
}

// Scales RGBA bytes to RGB bytes, as cv2.resize with INTER_LINEAR does on three channels.
function resizeLinear(rgba, width, height, newWidth, newHeight) {
  const out = new Uint8Array(newWidth * newHeight * 3);
  if (newWidth === width && newHeight === height) {
    for (let from = 0, to = 0; to < out.length; from += 4, to += 3) {
      out[to] = rgba[from];
      out[to + 1] = rgba[from + 1];
      out[to + 2] = rgba[from + 2];
    }
    return out;
  }
  if (width === 2 * newWidth && height === 2 * newHeight) return halve(rgba, width, out, newWidth, newHeight);
  const columns = linearAxis(width, newWidth, true), rows = linearAxis(height, newHeight, false);
  const size = newWidth * 3;
  const scaled = new Map();  // rows of the image whose columns are scaled: at most the two that are needed
  const row = (number) => {
    let line = scaled.get(number);
    if (line) return line;
    if (scaled.size > 2) scaled.delete(scaled.keys().next().value);
    line = new Int32Array(size);
    const start = number * width * 4;
    for (let column = 0, to = 0; column < newWidth; column++) {
      const a = start + columns.before[column] * 4, b = start + columns.after[column] * 4;
      const near = columns.near[column], far = columns.far[column];
      line[to++] = rgba[a] * near + rgba[b] * far;
      line[to++] = rgba[a + 1] * near + rgba[b + 1] * far;
      line[to++] = rgba[a + 2] * near + rgba[b + 2] * far;
    }
    scaled.set(number, line);
    return line;
  };
  for (let y = 0, to = 0; y < newHeight; y++) {
    const above = row(rows.before[y]), below = row(rows.after[y]);
    const near = rows.near[y], far = rows.far[y];
    for (let x = 0; x < size; x++) {
      out[to++] = (((near * (above[x] >> 4)) >> 16) + ((far * (below[x] >> 4)) >> 16) + 2) >> 2;
    }
  }
  return out;
}

// OpenCV takes the mean of four pixels where both sides become exactly half.
function halve(rgba, width, out, newWidth, newHeight) {
  const line = width * 4;
  for (let y = 0, to = 0; y < newHeight; y++) {
    for (let x = 0, from = 2 * y * line; x < newWidth; x++, from += 8) {
      for (let channel = from; channel < from + 3; channel++) {
        out[to++] = (rgba[channel] + rgba[channel + 4] + rgba[channel + line] + rgba[channel + line + 4] + 2) >> 2;
      }
    }
  }
  return out;
}

// What each byte becomes, by the channel of the model: (value - mean) / std, each step in float32 as numpy has it.
function normalizationTable(spec) {
  const table = new Float32Array(256 * 3);
  for (let value = 0; value < 256; value++) {
    for (let channel = 0; channel < 3; channel++) {
      const difference = Math.fround(value - Math.fround(spec.mean[channel]));
      table[value * 3 + channel] = Math.fround(difference / Math.fround(spec.std[channel]));
    }
  }
  return table;
}

// Makes a function from RGBA bytes to the model's input, a new array of spec.dtype, and where the image lies in it.
function preprocessor(spec) {
  const [targetHeight, targetWidth] = spec.input_size;
  const plane = targetHeight * targetWidth;
  const asBytes = spec.dtype === "uint8";
  const table = asBytes ? null : normalizationTable(spec);
  const order = spec.color_order === "bgr" ? [2, 1, 0] : [0, 1, 2];
  const [pixelStep, channelStep] = spec.layout === "nchw" ? [1, plane] : [3, 1];

  return (rgba, width, height) => {
    const place = placementOf(width, height, spec);
    const rgb = resizeLinear(rgba, width, height, place.width, place.height);
    const tensor = asBytes ? new Uint8Array(plane * 3) : new Float32Array(plane * 3);
    for (let channel = 0; channel < 3; channel++) {
      const source = order[channel];
      const bars = spec.pad_value[source];
      const offset = channel * channelStep;
      const filled = asBytes ? bars : table[bars * 3 + channel];
      if (place.width * place.height < plane) {
        for (let to = offset, end = offset + plane * pixelStep; to < end; to += pixelStep) tensor[to] = filled;
      }
      for (let y = 0, from = source; y < place.height; y++) {
        let to = ((y + place.top) * targetWidth + place.left) * pixelStep + offset;
        if (asBytes) {
          for (let x = 0; x < place.width; x++, from += 3, to += pixelStep) tensor[to] = rgb[from];
        } else {
          for (let x = 0; x < place.width; x++, from += 3, to += pixelStep) tensor[to] = table[rgb[from] * 3 + channel];
        }
      }
    }
    return {tensor, place};
  };
}
