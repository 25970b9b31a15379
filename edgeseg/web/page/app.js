// The page: takes frames of a camera, video or image, hands the newest to a worker for each model, and shows what it says.
import {FrameClock} from "./clock.js";
import {Engine, chooseEngine, threadsToOffer} from "./engine.js";

const KEEPING = ["cutout", "blur", "replace"];
// LiteRT's GPU takes the padding of an ARG_MAX for a class where all logits of a pixel are below 0.
const UNKNOWN =
  "The GPU answers a class that does not exist, a fault of LiteRT in files of class maps; such pixels are not drawn. " +
  "Choose the CPU, or export with --output-kind logits.";
const byId = (id) => document.getElementById(id);

let site, engines = [], source = null, opening = 0;
const look = {view: "overlay", alpha: 0.6, background: "#00b140", hidden: new Set()};

function say(text) {
  byId("state").textContent = text;
}

function explain(error) {
  const known = {
    NotAllowedError: "The browser may not use the camera: allow it for this page.",
    NotFoundError: "No camera was found.",
    NotReadableError: "Another program uses the camera.",
    OverconstrainedError: "The camera has no such size.",
  };
  say(known[error.name] ?? error.message);
}

// -- models

async function openModels() {
  const turn = ++opening;  // what was asked for last is what stays
  engines.forEach((engine) => engine.close());
  engines = [];
  showRates();
  byId("proof").textContent = "";
  byId("ran").textContent = "-";
  for (const id of ["prove", "snapshot"]) byId(id).disabled = true;
  const chosen = byId("compare").checked ? site.artifacts : [site.artifacts[byId("artifact").selectedIndex]];
  const [accelerator, precision] = byId("accelerator").value.split(" ");  // "webgpu fp16"
  const wanted = {accelerator, precision, threads: Number(byId("threads").value)};
  const figures = [];
  const opened = [];
  say("Loading the model");
  try {
    for (const artifact of chosen) {
      const engine = await chooseEngine(artifact, wanted);
      opened.push(engine);
      figures.push(figure(engine, chosen.length > 1));
      await engine.takeCanvas(engine.element);
      if (turn !== opening) break;
    }
  } catch (error) {
    opened.forEach((each) => each.close());
    if (turn === opening) explain(error);
    return;
  }
  if (turn !== opening) {
    opened.forEach((each) => each.close());
    return;
  }
  byId("canvases").replaceChildren(...figures);
  engines = opened;
  showClasses(chosen);
  byId("ran").textContent = engines.map((engine) => engine.about()).join("; ");
  byId("prove").disabled = !chosen.some((artifact) => artifact.proof);
  byId("snapshot").disabled = source === null;
  say(source ? "" : "Ready");
  if (engines[0].ran.altersPixels) {
    say("This browser changes the pixels that a page reads, against tracking: the model sees other images than you.");
  }
  source?.again();
}

function figure(engine, named) {
  const element = document.createElement("figure");
  engine.element = element.appendChild(document.createElement("canvas"));
  engine.element.setAttribute("role", "img");
  engine.element.setAttribute("aria-label", `What ${engine.artifact.name} sees`);
  if (named) {
    engine.caption = element.appendChild(document.createElement("figcaption"));
    engine.caption.textContent = engine.artifact.name;
  }
  return element;
}

// -- classes and view

// All classes of the models on the page, each name once.
function showClasses(artifacts) {
  const colors = new Map();
  for (const {spec} of artifacts) {
    spec.class_names.forEach((name, id) => colors.has(name) || colors.set(name, spec.palette[id]));
  }
  look.hidden = new Set(artifacts.flatMap(({background}) => background));
  byId("classes").replaceChildren(...[...colors].map(([name, color]) => {
    const item = document.createElement("li");
    const label = item.appendChild(document.createElement("label"));
    const box = label.appendChild(document.createElement("input"));
    const swatch = label.appendChild(document.createElement("span"));
    const title = label.appendChild(document.createElement("span"));
    title.textContent = title.title = name;
    title.className = "name";
    const share = label.appendChild(document.createElement("span"));
    Object.assign(box, {type: "checkbox", checked: !look.hidden.has(name)});
    box.addEventListener("change", () => {
      look.hidden[box.checked ? "delete" : "add"](name);
      source?.again();
    });
    swatch.className = "swatch";
    swatch.style.background = `rgb(${color.join(" ")})`;
    Object.assign(share, {className: "share"}).dataset.name = name;
    return item;
  }));
}

// How an artifact is drawn: what is shown of its own classes, by their ids.
function lookOf({spec}) {
  const shown = spec.class_names.map((name) => !look.hidden.has(name));
  return {...look, hidden: null, shown, keeps: KEEPING.includes(look.view)};
}

function showShares({spec}, shares) {
  for (const cell of byId("classes").getElementsByClassName("share")) {
    const share = shares[spec.class_names.indexOf(cell.dataset.name)] ?? 0;
    cell.textContent = share >= 0.005 ? `${Math.round(share * 100)} %` : "";
  }
}

// -- frames

class Rates {
  constructor() {
    this.done = [];
    this.dropped = 0;
  }

  add(now) {
    this.done.push(now);
    while (this.done.length > 31) this.done.shift();
  }

  // Of ten frames or more, as n times make n - 1 intervals.
  get perSecond() {
    const {done} = this;
    return done.length < 10 ? null : (1000 * (done.length - 1)) / (done.at(-1) - done[0]);
  }
}

let rates = new Rates();

function showRates(ms, age) {
  if (ms === undefined) {
    rates = new Rates();
    for (const id of ["fps", "inference", "age", "dropped"]) byId(id).textContent = "-";
    return;
  }
  const fps = rates.perSecond;
  byId("fps").textContent = fps === null ? "-" : fps.toFixed(1);
  byId("inference").textContent = `${ms.inference.toFixed(1)} ms`;
  byId("age").textContent = age === null ? "-" : `${Math.round(age)} ms`;
  byId("dropped").textContent = rates.dropped;
}

// Gives an engine the newest frame whenever it is free; the frames that come meanwhile are dropped.
async function pump(engine) {
  if (engine.busy || !source?.fresh(engine)) return;
  engine.busy = true;
  try {
    const {frame, size, captured} = await source.take(engine);
    const {ms, shares, unknown} = await engine.draw(frame, size, lookOf(engine.artifact));
    if (unknown) say(UNKNOWN);
    if (engine === engines[0]) {
      const now = performance.now();
      rates.add(now);
      showRates(ms, captured === null ? null : now - captured);
      showShares(engine.artifact, shares);
    }
    if (engine.caption) engine.caption.textContent = `${engine.artifact.name}: ${ms.inference.toFixed(1)} ms`;
  } catch (error) {
    if (engines.includes(engine)) explain(error);
    return;
  } finally {
    engine.busy = false;
  }
  pump(engine);
}

// Frames that come by themselves; each engine takes the newest.
class LiveSource {
  constructor(close) {
    this.stop = close;
    this.count = 0;
    this.captured = null;
    this.taken = new WeakMap();
    this.closed = false;
  }

  // A frame is there; it was captured then, in milliseconds of the page's clock.
  came(captured) {
    const first = engines[0];
    if (first && this.count && this.taken.get(first) !== this.count) rates.dropped++;
    this.count++;
    this.captured = captured;
    engines.forEach(pump);
  }

  fresh(engine) {
    return this.count > 0 && this.taken.get(engine) !== this.count;
  }

  async take(engine) {
    this.taken.set(engine, this.count);
    const captured = this.captured;
    return {captured, ...(await this.frame())};
  }

  // The classes that are shown changed: the next frame shows it.
  again() {
    engines.forEach(pump);
  }

  close() {
    this.closed = true;
    this.stop();
  }
}

// The frames of a video element, each when the browser is about to show it.
class VideoSource extends LiveSource {
  constructor(video, close) {
    super(close);
    this.video = video;
    this.wait();
  }

  wait() {
    this.video.requestVideoFrameCallback((now, about) => {
      if (this.closed) return;
      this.wait();
      this.came(about.captureTime ?? now);
    });
  }

  async frame() {
    const {video} = this;
    const frame = "VideoFrame" in window ? new VideoFrame(video) : await createImageBitmap(video);
    return {frame, size: [video.videoWidth, video.videoHeight]};
  }

  again() {
    if (this.video.paused) this.taken = new WeakMap();
    super.again();
  }
}

// The frames of a camera as it gives them: a video element has them up to a frame of the display later.
class TrackSource extends LiveSource {
  constructor(video, close) {
    super(close);
    this.newest = null;
    this.clock = new FrameClock();
    const {readable} = new MediaStreamTrackProcessor({track: video.srcObject.getVideoTracks()[0]});
    this.read(readable.getReader()).catch(explain);
    this.compareClocks(video);
  }

  async read(reader) {
    for (;;) {
      const {done, value} = await reader.read();
      if (done || this.closed) {
        value?.close();
        return;
      }
      this.newest?.close();
      this.newest = value;
      const stamp = value.timestamp / 1000;
      this.clock.came(stamp, performance.now());
      // A page that nobody sees segments nothing, as where the display asks for frames.
      if (!document.hidden) this.came(this.clock.captured(stamp));
    }
  }

  // A video element has the time of capture in the page's clock, until the clocks are compared.
  compareClocks(video) {
    video.requestVideoFrameCallback((now, {captureTime}) => {
      if (this.closed) return;
      if (this.newest) this.clock.shown(this.newest.timestamp / 1000, captureTime ?? now);
      if (this.clock.isKnown) video.srcObject = null;
      else this.compareClocks(video);
    });
  }

  async frame() {
    const frame = this.newest.clone();
    return {frame, size: [frame.displayWidth, frame.displayHeight]};
  }

  close() {
    super.close();
    this.newest?.close();
  }
}

class ImageSource {
  constructor(image) {
    this.image = image;
    this.version = 1;
    this.taken = new WeakMap();
  }

  fresh(engine) {
    return this.taken.get(engine) !== this.version;
  }

  async take(engine) {
    this.taken.set(engine, this.version);
    const {width, height} = this.image;
    return {frame: await createImageBitmap(this.image), size: [width, height], captured: null};
  }

  again() {
    this.version++;
    engines.forEach(pump);
  }

  close() {
    this.image.close();
  }
}

function setSource(next) {
  source?.close();
  source = next;
  byId("empty").hidden = next !== null;
  byId("snapshot").disabled = next === null || !engines.length;
  showRates();
  engines.forEach(pump);
}

// -- camera and files

let facing = "user";

async function startCamera() {
  if (!navigator.mediaDevices) {
    say("A camera needs a secure page: https, or http on localhost.");
    return;
  }
  if (!("requestVideoFrameCallback" in HTMLVideoElement.prototype)) {
    say("This browser does not tell a page when a frame comes (requestVideoFrameCallback); a newer one does.");
    return;
  }
  stopSource();  // many phones open one camera at a time
  say("");  // before there is a camera that can fail
  let stream;
  const stop = () => stream?.getTracks().forEach((track) => track.stop());
  try {
    const size = {width: {ideal: 640}, height: {ideal: 480}};
    stream = await navigator.mediaDevices.getUserMedia({video: {...size, facingMode: facing}});
    const video = await playing((element) => (element.srcObject = stream));
    setSource(new ("MediaStreamTrackProcessor" in window ? TrackSource : VideoSource)(video, stop));
  } catch (error) {
    stop();
    explain(error);
    return;
  }
  stream.getVideoTracks()[0].addEventListener("ended", () => {
    stopSource();
    say("The camera is gone.");
  });
  byId("camera").textContent = "Stop camera";
  const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((each) => each.kind === "videoinput");
  byId("turn").hidden = cameras.length < 2;
}

function stopSource() {
  setSource(null);
  byId("camera").textContent = "Start camera";
}

async function playing(give) {
  const video = document.createElement("video");
  Object.assign(video, {muted: true, playsInline: true, loop: true});
  give(video);
  await video.play();
  return video;
}

async function openFile(file) {
  const url = URL.createObjectURL(file);
  try {
    if (file.type.startsWith("video/")) {
      const video = await playing((element) => (element.src = url));
      stopSource();
      setSource(new VideoSource(video, () => {
        video.pause();
        URL.revokeObjectURL(url);
      }));
    } else {
      const options = {colorSpaceConversion: "none", premultiplyAlpha: "none"};
      const image = await createImageBitmap(file, options);
      URL.revokeObjectURL(url);
      stopSource();
      setSource(new ImageSource(image));
    }
    say("");
  } catch {
    URL.revokeObjectURL(url);
    say(`${file.name} is no image or video that this browser reads.`);
  }
}

// -- what is asked for

function listen() {
  byId("camera").addEventListener("click", () => {
    if (byId("camera").textContent === "Stop camera") stopSource();
    else startCamera();
  });
  byId("turn").addEventListener("click", () => {
    facing = facing === "user" ? "environment" : "user";
    startCamera();
  });
  byId("file").addEventListener("change", (event) => {
    if (event.target.files[0]) openFile(event.target.files[0]);
    event.target.value = "";  // so that the same file can be chosen again
  });
  for (const id of ["artifact", "accelerator", "threads", "compare"]) byId(id).addEventListener("change", openModels);
  byId("view").addEventListener("change", () => {
    look.view = byId("view").value;
    say(KEEPING.includes(look.view) && !look.hidden.size ? "Everything is kept: choose the classes to keep." : "");
    source?.again();
  });
  byId("alpha").addEventListener("input", () => {
    look.alpha = Number(byId("alpha").value);
    source?.again();
  });
  byId("background").addEventListener("input", () => {
    look.background = byId("background").value;
    source?.again();
  });
  byId("snapshot").addEventListener("click", () => saveSnapshot(engines[0]).catch(explain));
  byId("prove").addEventListener("click", proveAll);
}

async function saveSnapshot(engine) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(await engine.snapshot());
  link.download = `${engine.artifact.name}.png`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);  // a browser may still be reading it
}

async function proveAll() {
  const lines = [];
  let failed = false;
  byId("prove").disabled = true;
  byId("proof").textContent = "Proving";
  for (const engine of engines.filter((each) => each.artifact.proof)) {
    try {
      const {agreement, images, minAgreement, passed} = await engine.prove();
      const percent = (share, digits) => `${(Math.floor(share * 10 ** (digits + 2)) / 10 ** digits).toFixed(digits)} %`;
      lines.push(
        `${engine.artifact.name} on ${engine.about()}: ${percent(agreement, 3)} of the decided pixels of ${images} ` +
        `images have the class that Keras gives; ${passed ? "ok" : "FAILED"}, at least ${percent(minAgreement, 2)}.`
      );
      failed ||= !passed;
    } catch (error) {
      lines.push(`${engine.artifact.name}: ${error.message}`);
      failed = true;
    }
  }
  byId("proof").textContent = lines.join(" ");
  byId("proof").classList.toggle("failed", failed);
  byId("prove").disabled = false;
}

// A host of static files sets no headers: a service worker adds those that threads need, from the next load on. Where
// there can be none, the page has one thread.
async function isolate() {
  if (window.crossOriginIsolated || !window.isSecureContext || !navigator.serviceWorker) return;
  try {
    if (sessionStorage.getItem("isolating")) return;
    sessionStorage.setItem("isolating", "1");
    await navigator.serviceWorker.register("headers.js");
    await navigator.serviceWorker.ready;
  } catch {
    return;
  }
  location.reload();
  await new Promise(() => {});
}

async function offerGpu() {
  const [single, half] = byId("accelerator").querySelectorAll("[value^=webgpu]");
  single.disabled = !navigator.gpu;
  half.disabled = true;
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  half.disabled = !adapter?.features.has("shader-f16");
}

async function main() {
  await isolate();
  const answer = await fetch("site.json");
  if (!answer.ok) throw new Error(`The list of models cannot be loaded: ${answer.status}`);
  site = await answer.json();
  byId("artifact").replaceChildren(...site.artifacts.map(({name}) => new Option(name)));
  byId("threads").replaceChildren(...threadsToOffer().map((count) => new Option(count)));
  byId("threads").selectedIndex = byId("threads").length - 1;
  byId("compare").parentElement.hidden = site.artifacts.length < 2;
  offerGpu();
  listen();
  await openModels();
}

main().catch(explain);
