// Runs a .tflite file with LiteRT.js; a classic script, as its loader calls importScripts.
// LiteRT is one for each worker and stays in it: another artifact, accelerator or number of threads is another worker.
"use strict";

// Where a GPU has no half precision, the library computes in single precision and says nothing.
async function refuseWithoutHalf() {
  const adapter = await navigator.gpu?.requestAdapter();
  if (!adapter?.features.has("shader-f16")) {
    throw new Error("This browser's GPU has no half precision (shader-f16); choose GPU (WebGPU).");
  }
}

// Loads the runtime and a model; returns what runs it, which is not always what was asked for, and a function.
async function openLiteRt({artifact, runtime, accelerator, precision, threads}) {
  if (precision === "fp16") await refuseWithoutHalf();
  const wasm = `${runtime}wasm/`;
  self.Module = {
    locateFile: (file) => wasm + file,
    mainScriptUrlOrBlob: `${wasm}litert_wasm_threaded_internal.js`,
  };
  const liteRt = await import(`${runtime}core.js`);
  await liteRt.loadLiteRt(wasm, threads > 1 ? {threads: true} : {});
  const options = accelerator === "webgpu"
    ? {accelerator, gpuOptions: {precision}}
    : {accelerator, cpuOptions: {numThreads: threads}};
  const bytes = await download(artifact.file);
  const started = performance.now();
  const model = await liteRt.loadAndCompile(bytes, options);
  const ms = performance.now() - started;
  const toHost = (output) => (output.accelerator === "webgpu" ? output.copyTo("wasm") : output);
  const deleteAll = (tensors) => new Set(tensors).forEach((tensor) => tensor.delete());

  return {
    // Where a browser lacks what a partly delegated graph needs, the library takes wasm and only logs it.
    accelerator: model.options?.accelerator ?? accelerator,
    fullyAccelerated: accelerator === "webgpu" ? model.isFullyAccelerated : true,
    ms,

    // Runs the model; returns a copy of its first output, and its shape.
    async run(tensor, shape) {
      const input = new liteRt.Tensor(tensor, shape);
      let outputs = [], host;
      try {
        outputs = await model.run([input]);
        host = await toHost(outputs[0]);
        return {values: host.toTypedArray().slice(), sides: [...outputs[0].type.layout.dimensions]};
      } finally {
        deleteAll([input, ...outputs, ...(host ? [host] : [])]);
      }
    },

    // Returns a function that runs the model on a tensor that it has already, and the milliseconds that this takes. On
    // the GPU the output is fetched, as nothing else says when it is there.
    timed(tensor, shape) {
      const input = new liteRt.Tensor(tensor, shape);
      return async () => {
        const started = performance.now();
        const outputs = await model.run([input]);
        const host = await toHost(outputs[0]);
        const ms = performance.now() - started;
        deleteAll([...outputs, host]);
        return ms;
      };
    },
  };
}
