// Runs a .onnx file with onnxruntime-web on the CPU; a classic script.
"use strict";

const ORT_TYPES = {Float32Array: "float32", Uint8Array: "uint8", Int8Array: "int8"};

async function openOnnx({artifact, runtime, threads}) {
  const ort = await import(`${runtime}ort.wasm.min.mjs`);
  ort.env.wasm.wasmPaths = runtime;
  ort.env.wasm.numThreads = threads;
  const session = await ort.InferenceSession.create(await download(artifact.file), {executionProviders: ["wasm"]});
  return {
    accelerator: "wasm",
    fullyAccelerated: true,

    async run(tensor, shape) {
      const input = new ort.Tensor(ORT_TYPES[tensor.constructor.name], tensor, shape);
      const results = await session.run({[session.inputNames[0]]: input});
      const output = results[session.outputNames[0]];
      const values = output.data.slice();
      const sides = [...output.dims];
      for (const each of Object.values(results)) each.dispose();
      return {values, sides};
    },
  };
}
