// Runs one artifact with LiteRT.js, off the page's thread. A classic script, as LiteRT's loader calls importScripts.
// LiteRT is one for each worker and stays in it: another artifact, accelerator or number of threads is another worker.
"use strict";

importScripts("imaging.js", "drawing.js", "proof.js");

let liteRt, model, artifact, prepare, painter, ran;
const frames = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});

const requests = {
  // Loads the runtime and the model; says what runs it, which is not always what was asked for.
  async open({artifact: opened, runtime, accelerator, threads}) {
    artifact = opened;
    if (accelerator === "webgpu" && !artifact.gpu) throw new Error(artifact.noGpu);
    const wasm = `${runtime}wasm/`;
    const build = threads > 1 ? "threaded" : "";
    self.Module = {
      locateFile: (file) => wasm + file,
      mainScriptUrlOrBlob: `${wasm}litert_wasm_threaded_internal.js`,
    };
    const started = performance.now();
    liteRt = await import(`${runtime}core.js`);
    await liteRt.loadLiteRt(wasm, build ? {threads: true} : {});
    const loaded = performance.now();
    const options = accelerator === "webgpu"
      ? {accelerator, gpuOptions: {precision: "fp32"}}
      : {accelerator, cpuOptions: {numThreads: threads}};
    model = await liteRt.loadAndCompile(await download(artifact.file), options);
    // Where a browser lacks what a partly delegated graph needs, the library takes wasm and only logs it.
    const got = model.options?.accelerator ?? accelerator;
    if (got !== accelerator) throw new Error(`This browser runs the model on ${got}, not on ${accelerator}.`);
    ran = {
      runtime: `LiteRT.js ${artifact.runtimeVersion}`,
      accelerator,
      threads,
      fullyAccelerated: accelerator === "webgpu" ? model.isFullyAccelerated : true,
      runtimeMs: loaded - started,
      modelMs: performance.now() - loaded,
    };
    if (artifact.spec) prepare = preprocessor(artifact.spec);
    return ran;
  },

  // Takes the canvas that results are drawn on.
  canvas({canvas}) {
    painter = new Painter(canvas, artifact.spec);
  },

  // Returns what is drawn now as a PNG.
  snapshot() {
    return painter.canvas.convertToBlob({type: "image/png"});
  },

  // Segments a frame and draws it; the frame is closed.
  async frame({frame, look, size}) {
    const begin = performance.now();
    try {
      const [width, height] = size;
      const image = pixels(frame, width, height);
      const prepared = performance.now();
      const {tensor, place} = prepare(image.data, width, height);
      const started = performance.now();
      const classMap = await classes(tensor);
      const ended = performance.now();
      const shares = painter.draw(frame, size, classMap, place, look);
      return {
        shares,
        ms: {
          pixels: prepared - begin,
          preprocess: started - prepared,
          inference: ended - started,
          draw: performance.now() - ended,
        },
      };
    } finally {
      frame.close();
    }
  },

  // Returns the class map of an image file, as large as the model's output: for tests and for the proof.
  async segment({blob}) {
    const {tensor, width, height} = await prepared(blob);
    const classMap = await classes(tensor);
    return {ids: classMap.ids, height: classMap.height, width: classMap.width, imageSize: [width, height]};
  },

  // Returns the model's input for an image file.
  async prepare({blob}) {
    return (await prepared(blob)).tensor;
  },

  // Answers the images of a proof, and compares them with what Keras says.
  async prove({url, precision}) {
    return prove(await download(url), precision, async (blob) => classes((await prepared(blob)).tensor));
  },

  // Runs the model on a tensor; returns the output as the runtime has it.
  async run({tensor, shape}) {
    const {values, sides} = await outputOf(tensor, shape);
    return {values, shape: sides, dtype: values.constructor.name.replace("Array", "").toLowerCase()};
  },

  // Times the model on a tensor, as edgeseg.benchmark.worker does; milliseconds of the first call, and of the timed ones.
  async time({tensor, shape, plan}) {
    const call = async () => {
      const started = performance.now();
      await outputOf(tensor, shape);
      return performance.now() - started;
    };
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

  // Runs the model on the same input again and again; returns milliseconds of each call.
  async measure({warmup, runs}) {
    const [height, width] = artifact.spec.input_size;
    const {tensor} = prepare(new Uint8ClampedArray(height * width * 4).fill(127), width, height);
    const ms = [];
    for (let run = -warmup; run < runs; run++) {
      const started = performance.now();
      await classes(tensor);
      if (run >= 0) ms.push(performance.now() - started);
    }
    return ms;
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
function pixels(frame, width, height) {
  if (frames.canvas.width !== width || frames.canvas.height !== height) {
    frames.canvas.width = width;
    frames.canvas.height = height;
  }
  frames.drawImage(frame, 0, 0, width, height);
  return frames.getImageData(0, 0, width, height);
}

async function prepared(blob) {
  // As the file has them: a color profile would change the bytes.
  const image = await createImageBitmap(blob, {colorSpaceConversion: "none", premultiplyAlpha: "none"});
  const {width, height} = image;
  const {data} = pixels(image, width, height);
  image.close();
  return {tensor: prepare(data, width, height).tensor, width, height};
}

// Runs the model; returns the class map as large as the model's output, and the scores where it gives them.
async function classes(tensor) {
  const [height, width] = artifact.spec.input_size;
  const shape = artifact.spec.layout === "nchw" ? [1, 3, height, width] : [1, height, width, 3];
  const {values, sides} = await outputOf(tensor, shape);
  const [rows, columns] = [sides[1], sides[2]];
  if (artifact.spec.output_kind === "argmax") return {ids: Uint8Array.from(values), height: rows, width: columns};
  return {ids: best(values, sides[3]), height: rows, width: columns, scores: values, channels: sides[3]};
}

// Runs the model; returns a copy of its first output, and its shape.
async function outputOf(tensor, shape) {
  const input = new liteRt.Tensor(tensor, shape);
  const [output] = await model.run([input]);
  const host = output.accelerator === "webgpu" ? await output.copyTo("wasm") : output;
  const values = host.toTypedArray().slice();  // the heap is the runtime's
  const sides = [...(host.type?.layout?.dimensions ?? output.type.layout.dimensions)];
  if (host !== output) host.delete();
  output.delete();
  input.delete();
  return {values, sides};
}

// The first of the best classes of each pixel, as numpy's argmax.
function best(scores, channels) {
  const ids = new Uint8Array(scores.length / channels);
  for (let pixel = 0, at = 0; pixel < ids.length; pixel++) {
    let top = scores[at];
    for (let channel = 0; channel < channels; channel++, at++) {
      if (scores[at] > top) {
        top = scores[at];
        ids[pixel] = channel;
      }
    }
  }
  return ids;
}
