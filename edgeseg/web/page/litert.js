// Runs a .tflite file with LiteRT.js; a classic script, as its loader calls importScripts.
// LiteRT is one for each worker and stays in it: another artifact, accelerator or number of threads is another worker.
"use strict";

// Loads the runtime and a model; returns what runs it, which is not always what was asked for, and a function.
async function openLiteRt({artifact, runtime, accelerator, threads}) {
  const wasm = `${runtime}wasm/`;
  self.Module = {
    locateFile: (file) => wasm + file,
    mainScriptUrlOrBlob: `${wasm}litert_wasm_threaded_internal.js`,
  };
  const liteRt = await import(`${runtime}core.js`);
  await liteRt.loadLiteRt(wasm, threads > 1 ? {threads: true} : {});
  const options = accelerator === "webgpu"
    ? {accelerator, gpuOptions: {precision: "fp32"}}
    : {accelerator, cpuOptions: {numThreads: threads}};
  const model = await liteRt.loadAndCompile(await download(artifact.file), options);
  return {
    // Where a browser lacks what a partly delegated graph needs, the library takes wasm and only logs it.
    accelerator: model.options?.accelerator ?? accelerator,
    fullyAccelerated: accelerator === "webgpu" ? model.isFullyAccelerated : true,

    // Runs the model; returns a copy of its first output, and its shape.
    async run(tensor, shape) {
      const input = new liteRt.Tensor(tensor, shape);
      const outputs = await model.run([input]);
      const [output] = outputs;
      const host = output.accelerator === "webgpu" ? await output.copyTo("wasm") : output;
      const values = host.toTypedArray().slice();  // the heap is the runtime's
      const sides = [...output.type.layout.dimensions];
      if (host !== output) host.delete();
      for (const each of outputs) each.delete();
      input.delete();
      return {values, sides};
    },
  };
}
