// The page: takes frames of a camera, video or image, hands the newest to a worker for each model, and shows what it says.
import {Engine, chooseEngine, threadsToOffer} from "./engine.js";

const KEEPING = ["cutout", "blur", "replace"];
const byId = (id) => document.getElementById(id);

let site, engines = [], source = null, opening = 0;
const look = {view: "overlay", alpha: 0.6, background: "#00b140", shown: []};

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
  byId("prove").disabled = true;
  const chosen = byId("compare").checked ? site.artifacts : [site.artifacts[byId("artifact").selectedIndex]];
  const wanted = {accelerator: byId("accelerator").value, threads: Number(byId("threads").value)};
  const figures = [];
  const opened = [];
  say("Loading the model");
  try {
    for (const artifact of chosen) {
      const engine = await chooseEngine(artifact, wanted);
      opened.push(engine);
      if (turn !== opening) {
        opened.forEach((each) => each.close());
        return;
      }
      figures.push(figure(engine, chosen.length > 1));
    }
  } catch (error) {
    opened.forEach((each) => each.close());
    if (turn === opening) explain(error);
    return;
  }
  byId("canvases").replaceChildren(...figures);
  for (const engine of opened) await engine.takeCanvas(engine.element);
  engines = opened;
  showClasses(chosen[0]);
  byId("ran").textContent = engines.map((engine) => engine.about()).join("; ");
  byId("prove").disabled = !chosen.some((artifact) => artifact.proof);
  say(source ? "" : "Ready");
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

function showClasses(artifact) {
  const {class_names: names, palette} = artifact.spec;
  look.shown = names.map((name) => !artifact.background.includes(name));
  byId("classes").replaceChildren(...names.map((name, id) => {
    const item = document.createElement("li");
    const label = item.appendChild(document.createElement("label"));
    const box = label.appendChild(document.createElement("input"));
    const swatch = label.appendChild(document.createElement("span"));
    label.append(name);
    const share = label.appendChild(document.createElement("span"));
    Object.assign(box, {type: "checkbox", checked: look.shown[id]});
    box.addEventListener("change", () => {
      look.shown[id] = box.checked;
      source?.again();
    });
    swatch.className = "swatch";
    swatch.style.background = `rgb(${palette[id].join(" ")})`;
    share.className = "share";
    return item;
  }));
}

function showShares(shares) {
  const cells = byId("classes").getElementsByClassName("share");
  shares.forEach((share, id) => {
    if (cells[id]) cells[id].textContent = share >= 0.005 ? `${Math.round(share * 100)} %` : "";
  });
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
    const {ms, shares} = await engine.draw(frame, size, look);
    if (engine === engines[0]) {
      const now = performance.now();
      rates.add(now);
      showRates(ms, captured === null ? null : now - captured);
      showShares(shares);
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

class VideoSource {
  constructor(video, close) {
    this.video = video;
    this.stop = close;
    this.presented = 0;
    this.captured = 0;
    this.taken = new WeakMap();
    this.closed = false;
    this.wait();
  }

  wait() {
    this.video.requestVideoFrameCallback((now, about) => {
      if (this.closed) return;
      const first = engines[0];
      if (first && this.presented && this.taken.get(first) !== this.presented) rates.dropped++;
      this.presented++;
      this.captured = about.captureTime ?? now;
      this.wait();
      engines.forEach(pump);
    });
  }

  fresh(engine) {
    return this.presented > 0 && this.taken.get(engine) !== this.presented;
  }

  async take(engine) {
    this.taken.set(engine, this.presented);
    const {video} = this;
    const frame = "VideoFrame" in window ? new VideoFrame(video) : await createImageBitmap(video);
    return {frame, size: [video.videoWidth, video.videoHeight], captured: this.captured};
  }

  // The classes that are shown changed: the next frame shows it.
  again() {
    if (this.video.paused) this.taken = new WeakMap();
    engines.forEach(pump);
  }

  close() {
    this.closed = true;
    this.stop();
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
  byId("snapshot").disabled = next === null;
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
  try {
    const size = {width: {ideal: 640}, height: {ideal: 480}};
    const stream = await navigator.mediaDevices.getUserMedia({video: {...size, facingMode: facing}});
    const video = await playing((element) => (element.srcObject = stream));
    setSource(new VideoSource(video, () => stream.getTracks().forEach((track) => track.stop())));
    byId("camera").textContent = "Stop camera";
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter((each) => each.kind === "videoinput");
    byId("turn").hidden = cameras.length < 2;
    say("");
  } catch (error) {
    explain(error);
  }
}

async function playing(give) {
  const video = document.createElement("video");
  Object.assign(video, {muted: true, playsInline: true, loop: true});
  give(video);
  await video.play();
  return video;
}

async function openFile(file) {
  byId("camera").textContent = "Start camera";
  try {
    if (file.type.startsWith("video/")) {
      const url = URL.createObjectURL(file);
      const video = await playing((element) => (element.src = url));
      setSource(new VideoSource(video, () => {
        video.pause();
        URL.revokeObjectURL(url);
      }));
    } else {
      const options = {colorSpaceConversion: "none", premultiplyAlpha: "none"};
      setSource(new ImageSource(await createImageBitmap(file, options)));
    }
    say("");
  } catch (error) {
    say(`${file.name} is no image or video that this browser reads.`);
  }
}

// -- what is asked for

function listen() {
  byId("camera").addEventListener("click", () => {
    if (byId("camera").textContent === "Stop camera") {
      setSource(null);
      byId("camera").textContent = "Start camera";
    } else {
      startCamera();
    }
  });
  byId("turn").addEventListener("click", () => {
    facing = facing === "user" ? "environment" : "user";
    startCamera();
  });
  byId("file").addEventListener("change", (event) => {
    if (event.target.files[0]) openFile(event.target.files[0]);
  });
  for (const id of ["artifact", "accelerator", "threads", "compare"]) byId(id).addEventListener("change", openModels);
  byId("view").addEventListener("change", () => {
    look.view = byId("view").value;
    say(KEEPING.includes(look.view) && look.shown.every(Boolean) ? "Everything is kept: choose the classes to keep." : "");
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
  byId("snapshot").addEventListener("click", async () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await engines[0].snapshot());
    link.download = `${engines[0].artifact.name}.png`;
    link.click();
    URL.revokeObjectURL(link.href);
  });
  byId("prove").addEventListener("click", proveAll);
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

// A host of static files sets no headers: a service worker adds those that threads need, from the next load on.
async function isolate() {
  if (window.crossOriginIsolated || !window.isSecureContext || !navigator.serviceWorker) return;
  if (sessionStorage.getItem("isolating")) return;
  sessionStorage.setItem("isolating", "1");
  await navigator.serviceWorker.register("headers.js");
  await navigator.serviceWorker.ready;
  location.reload();
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
  if (!navigator.gpu) byId("accelerator").querySelector("[value=webgpu]").disabled = true;
  listen();
  await openModels();
}

main().catch(explain);
