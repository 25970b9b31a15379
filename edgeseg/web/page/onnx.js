// Runs a .onnx file with onnxruntime-web on the CPU; a classic script.
"use strict";

const ORT_TYPES = {Float32Array: "float32", Uint8Array: "uint8", Int8Array: "int8"};

async function openOnnx({artifact, runtime, threads}) {
  const ort = await import(`${runtime}ort.wasm.min.mjs`);
  ort.env.wasm.wasmPaths = runtime;
  ort.env.wasm.numThreads = threads;
  const bytes = await download(artifact.file);
  const started = performance.now();
  const session = await ort.InferenceSession.create(bytes, {executionProviders: ["wasm"]});
  const ms = performance.now() - started;
  const feed = (tensor, shape) => ({
    [session.inputNames[0]]: new ort.Tensor(ORT_TYPES[tensor.constructor.name], tensor, shape),
  });
  const disposeAll = (results) => Object.values(results).forEach((each) => each.dispose());

  return {
    accelerator: "wasm",
    fullyAccelerated: true,
    ms,

    async run(tensor, shape) {
      const results = await session.run(feed(tensor, shape));
      const output = results[session.outputNames[0]];
      const [values, sides] = [output.data.slice(), [...output.dims]];
      disposeAll(results);
      return {values, sides};
    },

    timed(tensor, shape) {
      const feeds = feed(tensor, shape);
      return async () => {
        const started = performance.now();
        const results = await session.run(feeds);
        const ms = performance.now() - started;
        disposeAll(results);
        return ms;
      };
    },
  };
}
