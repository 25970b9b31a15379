// Runs one artifact, off the page's thread. A classic script, as LiteRT's loader calls importScripts.
"use strict";

importScripts("imaging.js", "drawing.js", "proof.js");

let model, artifact, prepare, painter;
const canvas2d = () => new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
// A frame is drawn from its canvas after its inference; on a GPU the images of a proof come meanwhile, so theirs is
// another. There is one frame at a time: the page gives an engine the next when it has drawn.
const live = canvas2d(), files = canvas2d();

const requests = {
  // Loads the runtime and the model; says what runs it.
  async open({artifact: opened, runtime, accelerator, precision = "fp32", threads}) {
    artifact = opened;
    if (accelerator === "webgpu" && !artifact.gpu) throw new Error(artifact.noGpu);
    const isOnnx = artifact.file.endsWith(".onnx");
    importScripts(isOnnx ? "onnx.js" : "litert.js");
    model = await (isOnnx ? openOnnx : openLiteRt)({artifact, runtime, accelerator, precision, threads});
    if (model.accelerator !== accelerator) {
      throw new Error(`This browser runs the model on ${model.accelerator}, not on ${accelerator}.`);
    }
    if (artifact.spec) prepare = preprocessor(artifact.spec);
    const {fullyAccelerated, ms} = model;
    const ran = {runtime: artifact.runtime, accelerator, precision, threads, fullyAccelerated, ms};
    return {...ran, altersPixels: altersPixels()};
  },

  // Takes the canvas that results are drawn on.
  canvas({canvas}) {
    painter = new Painter(canvas, artifact.spec);
  },

  // Returns what is drawn now as a PNG.
  snapshot() {
    return painter.canvas.convertToBlob({type: "image/png"});
  },

  // Segments a frame and draws it. The frame is closed as soon as its pixels are here: a camera has few to fill.
  async frame({frame, look, size}) {
    const begin = performance.now();
    let image;
    try {
      image = pixels(live, frame, ...size);
    } finally {
      frame.close();
    }
    const prepared = performance.now();
    const {tensor, place} = prepare(image.data, ...size);
    const started = performance.now();
    const classMap = await classes(tensor);
    const ended = performance.now();
    const drawn = painter.draw(live.canvas, size, classMap, place, look);
    return {
      ...drawn,
      ms: {
        pixels: prepared - begin,
        preprocess: started - prepared,
        inference: ended - started,
        draw: performance.now() - ended,
      },
    };
  },

  // Returns the class map of an opaque image file, as large as the model's output.
  async segment({blob}) {
    const {ids, height, width} = await classes(await prepared(blob));
    return {ids, height, width};
  },

  // Answers the images of a proof, and compares them with what Keras says.
  async prove({url, precision}) {
    return prove(await download(url), precision, async (blob) => classes(await prepared(blob)));
  },

  // Runs the model on a tensor; returns the output as the runtime has it.
  async run({tensor, shape}) {
    const {values, sides} = await model.run(tensor, shape);
    return {values, shape: sides, dtype: values.constructor.name.replace("Array", "").toLowerCase()};
  },

  // Times the model on a tensor, by the plan of edgeseg.benchmark.worker; milliseconds of the first and the timed calls.
  async time({tensor, shape, plan}) {
    const call = model.timed(tensor, shape);
    const began = performance.now();
    const first = await call();
    for (let runs = 1; runs < plan.warmupRuns || performance.now() - began < plan.warmupMs; runs++) {
      await call();
      if (performance.now() - began > plan.mostMs) break;
    }
    const ms = [];
    const started = performance.now();
    while (ms.length < plan.runs || performance.now() - started < plan.leastMs) {
      ms.push(await call());
      if (performance.now() - started > plan.mostMs) break;
    }
    return {first, ms};
  },

  // Times a few calls on a gray image; the median, in milliseconds.
  async trial() {
    const [height, width] = artifact.spec.input_size;
    const {tensor} = prepare(new Uint8ClampedArray(height * width * 4).fill(127), width, height);
    const call = model.timed(tensor, inputShape());
    const ms = [];
    for (let run = 0; run < 7; run++) ms.push(await call());
    return ms.slice(2).sort((a, b) => a - b)[2];
  },
};

self.onmessage = async ({data}) => {
  try {
    postMessage({id: data.id, result: await requests[data.request](data)});
  } catch (error) {
    postMessage({id: data.id, error: error instanceof Error ? error.message : String(error)});
  }
};

async function download(url) {
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} cannot be loaded: ${answer.status}`);
  return new Uint8Array(await answer.arrayBuffer());
}

// The RGBA bytes of a frame or image, scaled only where its pixels are not square.
function pixels(context, image, width, height) {
  const {canvas} = context;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  context.clearRect(0, 0, width, height);  // what is transparent would show the image before
  context.drawImage(image, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

// Some browsers put noise into what a page reads from a canvas, against tracking: inputs and proofs would differ.
function altersPixels() {
  const context = new OffscreenCanvas(32, 32).getContext("2d", {willReadFrequently: true});
  const image = new ImageData(32, 32);
  image.data.forEach((_, at) => (image.data[at] = at % 4 === 3 ? 255 : (at * 97) % 256));
  context.putImageData(image, 0, 0);
  return context.getImageData(0, 0, 32, 32).data.some((value, at) => value !== image.data[at]);
}

async function prepared(blob) {
  // As the file has them: a color profile would change the bytes.
  const image = await createImageBitmap(blob, {colorSpaceConversion: "none", premultiplyAlpha: "none"});
  const {width, height} = image;
  const {data} = pixels(files, image, width, height);
  image.close();
  return prepare(data, width, height).tensor;
}

function inputShape() {
  const {input_size: [height, width], layout} = artifact.spec;
  return layout === "nchw" ? [1, 3, height, width] : [1, height, width, 3];
}

// Runs the model; returns the class map as large as the model's output.
async function classes(tensor) {
  const {layout, output_kind: kind} = artifact.spec;
  const isPlanes = layout === "nchw";
  const {values, sides} = await model.run(tensor, inputShape());
  if (kind === "argmax") {
    const [rows, columns] = isPlanes && sides.length === 4 ? sides.slice(2) : sides.slice(1);
    return {ids: Uint8Array.from(values, Number), height: rows, width: columns};
  }
  const [rows, columns, channels] = isPlanes ? [sides[2], sides[3], sides[1]] : sides.slice(1);
  const map = {ids: best(values, channels, isPlanes), height: rows, width: columns};
  return kind === "softmax" && !isPlanes ? {...map, scores: values, channels} : map;
}

// The first of the best classes of each pixel, as numpy's argmax.
function best(scores, channels, isPlanes) {
  const pixels = scores.length / channels;
  const [pixelStep, channelStep] = isPlanes ? [1, pixels] : [channels, 1];
  const ids = new Uint8Array(pixels);
  for (let pixel = 0; pixel < pixels; pixel++) {
    let at = pixel * pixelStep, top = scores[at];
    for (let channel = 1; channel < channels; channel++) {
      at += channelStep;
      if (scores[at] > top) {
        top = scores[at];
        ids[pixel] = channel;
      }
    }
  }
  return ids;
}
