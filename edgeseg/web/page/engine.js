// A model in a worker of its own, and the choice of what runs it.

export class Engine {
  constructor(artifact) {
    this.artifact = artifact;
    this.busy = this.closed = false;
    this.worker = new Worker("worker.js");
    this.waiting = new Map();
    this.number = 0;
    this.worker.onmessage = ({data}) => this.settle(data.id, data);
    this.worker.onerror = (event) => this.fail(event.message || "The worker failed.");
  }

  // Asks the worker, and waits for its answer; what is in transfer is the worker's from then on.
  ask(request, values = {}, transfer = []) {
    if (this.closed) return Promise.reject(new Error("The model was closed."));
    const id = this.number++;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, {resolve, reject});
      this.worker.postMessage({id, request, ...values}, transfer);
    });
  }

  settle(id, {result, error}) {
    const {resolve, reject} = this.waiting.get(id) ?? {};
    this.waiting.delete(id);
    if (error === undefined) resolve?.(result);
    else reject?.(new Error(error));
  }

  // What it computes in is a GPU's choice: "fp32" or "fp16"; on the CPU the file has it.
  async open(accelerator, threads, precision = "fp32") {
    const absolute = (path) => new URL(path, location.href).href;
    const artifact = {...this.artifact, file: absolute(this.artifact.file)};
    this.ran = await this.ask("open", {artifact, runtime: absolute(artifact.folder), accelerator, precision, threads});
    return this;
  }

  about() {
    const {runtime, accelerator, precision, threads, fullyAccelerated} = this.ran;
    if (accelerator === "webgpu") {
      return `${runtime}, WebGPU${precision === "fp16" ? " in half precision" : ""}${fullyAccelerated ? "" : ", in part"}`;
    }
    return `${runtime}, CPU, ${threads} ${threads === 1 ? "thread" : "threads"}`;
  }

  takeCanvas(element) {
    const canvas = element.transferControlToOffscreen();
    return this.ask("canvas", {canvas}, [canvas]);
  }

  draw(frame, size, look) {
    if (this.closed) frame.close();
    return this.ask("frame", {frame, size, look}, [frame]);
  }

  snapshot() {
    return this.ask("snapshot");
  }

  // An fp32 file that a GPU computes in half precision has to pass the gate of fp16 files, as edgeseg.proof.verdict has it.
  prove() {
    const url = new URL(this.artifact.proof, location.href).href;
    const isHalved = this.ran.precision === "fp16" && this.artifact.precision === "fp32";
    return this.ask("prove", {url, precision: isHalved ? "fp16" : this.artifact.precision});
  }

  trial() {
    return this.ask("trial");
  }

  close() {
    this.closed = true;
    this.worker.terminate();
    this.fail("The model was closed.");
  }

  fail(error) {
    for (const id of [...this.waiting.keys()]) this.settle(id, {error});
  }
}

// Opens an artifact on what was asked for; with "auto" both are tried on this device, and the faster one stays.
export async function chooseEngine(artifact, {accelerator, precision, threads}) {
  if (accelerator !== "auto") return opened(artifact, accelerator, threads, precision);
  const cpu = await opened(artifact, "wasm", threads);
  if (!artifact.gpu || !(await hasHardwareGpu())) return cpu;
  let gpu;
  try {
    gpu = await opened(artifact, "webgpu", 1);
    const [onCpu, onGpu] = [await cpu.trial(), await gpu.trial()];
    const [kept, other] = onGpu < onCpu ? [gpu, cpu] : [cpu, gpu];
    other.close();
    return kept;
  } catch {
    gpu?.close();
    return cpu;  // which about() names
  }
}

async function opened(artifact, accelerator, threads, precision) {
  const engine = new Engine(artifact);
  try {
    return await engine.open(accelerator, threads, precision);
  } catch (error) {
    engine.close();
    throw error;
  }
}

async function hasHardwareGpu() {
  try {
    const adapter = await navigator.gpu?.requestAdapter();
    return Boolean(adapter) && !adapter.info?.isFallbackAdapter && !adapter.isFallbackAdapter;
  } catch {
    return false;
  }
}

// A module with one relaxed SIMD instruction. LiteRT.js has threads only where it is valid: not in Safari.
const RELAXED_SIMD = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2, 11]);

// Without the headers that isolate a page there is no memory that threads could share.
export function threadsToOffer() {
  const possible = window.crossOriginIsolated && WebAssembly.validate(RELAXED_SIMD);
  const most = possible ? Math.min(8, navigator.hardwareConcurrency || 1) : 1;
  return Array.from({length: most}, (_, index) => index + 1);
}
