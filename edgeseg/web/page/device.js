// Makes this browser a device: it runs what edgeseg.web.exchange asks for, each model in a fresh worker, and posts answers.
import {Engine, threadsToOffer} from "./engine.js";

const PING_MS = 3000, TRIES = 10;
const key = location.hash.slice(1);
let engine = null, hidden = false, session = "";

document.addEventListener("visibilitychange", () => (hidden ||= document.hidden));

function say(text) {
  document.getElementById("state").textContent = text;
}

function log(text) {
  const list = document.getElementById("log");
  const line = list.appendChild(document.createElement("li"));
  line.textContent = text;
  while (list.children.length > 20) list.firstChild.remove();
}

const requests = {
  async open({name, file, folder, runtime, accelerator, threads}) {
    engine?.close();
    engine = new Engine({file, folder, runtime, gpu: true});
    const wanted = accelerator === "webgpu" ? 1 : threads || Math.min(4, threadsToOffer().length);
    if (wanted > threadsToOffer().length) {
      throw new Error(`This browser offers ${threadsToOffer().length} threads, not ${wanted}.`);
    }
    const {ran} = await engine.open(accelerator, wanted);
    log(`${name}: ${engine.about()}`);
    return {
      accelerator: ran.accelerator,
      threads: ran.threads,
      fully_accelerated: ran.fullyAccelerated,
      init_ms: ran.ms,
    };
  },

  async run({id, dtype, shape}) {
    const {values, ...about} = await engine.ask("run", {tensor: await tensor(id, dtype), shape});
    return [about, values];
  },

  async measure({id, dtype, shape, plan}) {
    hidden = document.hidden;
    const {first, ms} = await engine.ask("time", {tensor: await tensor(id, dtype), shape, plan});
    // As bytes: half an hour has a million calls.
    return [{first_ms: first, hidden, battery: await battery()}, Float64Array.from(ms)];
  },
};

async function tensor(id, dtype) {
  const bytes = await (await fetched(`device/attachment?id=${id}`)).arrayBuffer();
  return dtype === "float32" ? new Float32Array(bytes) : dtype === "int8" ? new Int8Array(bytes) : new Uint8Array(bytes);
}

// Asks the computer; a network that fails for some seconds is tried again, a refusal is not.
async function fetched(path, body) {
  const how = {headers: {"X-Edgeseg-Key": key, "X-Edgeseg-Session": session}};
  if (body !== undefined) Object.assign(how, {method: "POST", body});
  for (let left = TRIES; ; left--) {
    let answer;
    try {
      answer = await fetch(path, how);
    } catch (error) {
      if (!left) throw new Error("The computer is gone.");
      await new Promise((done) => setTimeout(done, 1000));
      continue;
    }
    if (!answer.ok) throw new Error(`The computer refuses: ${answer.status} ${answer.statusText}`);
    return answer;
  }
}

// The length of the JSON text in four bytes, the text, and the bytes of an output.
function packed(about, values = new Uint8Array()) {
  const text = new TextEncoder().encode(JSON.stringify(about));
  const length = new Uint8Array(new Uint32Array([text.length]).buffer);
  return new Blob([length, text, values]);
}

// -- what is known of this browser

async function battery() {
  const found = await navigator.getBattery?.();
  return found ? `${Math.round(found.level * 100)} %, ${found.charging ? "charging" : "discharging"}` : "";
}

function timerStep() {
  let step = Infinity;
  for (let round = 0, last = performance.now(); round < 20; ) {
    const now = performance.now();
    if (now > last) {
      step = Math.min(step, now - last);
      last = now;
      round++;
    }
  }
  return step;
}

async function greeting() {
  const adapter = await navigator.gpu?.requestAdapter();
  const info = adapter?.info;
  const detailed = await navigator.userAgentData?.getHighEntropyValues(["platformVersion", "model", "fullVersionList"]);
  const brand = detailed?.fullVersionList?.find(({brand}) => !/not.?a.?brand/i.test(brand));
  return {
    browser: (brand ? `${brand.brand} ${brand.version}` : navigator.userAgent).slice(0, 200),
    system: [detailed?.model, detailed?.platform ?? navigator.platform, detailed?.platformVersion].filter(Boolean).join(" "),
    cpus: navigator.hardwareConcurrency || 0,
    isolated: window.crossOriginIsolated,
    timer_ms: timerStep(),
    gpu: info ? [info.vendor, info.architecture, info.device, info.description].filter(Boolean).join(" ") : "",
    software_gpu: Boolean(info?.isFallbackAdapter ?? adapter?.isFallbackAdapter),
    battery: await battery(),
  };
}

// -- the loop

async function main() {
  if (!key) throw new Error("The address is not whole: it ends in # and a key.");
  await navigator.wakeLock?.request("screen").catch(() => {});
  session = await (await fetched("device/greeting", JSON.stringify(await greeting()))).text();
  say("Connected");
  // While a model runs, this says that the page is still there.
  const alive = setInterval(() => fetch("device/alive", {method: "POST", body: "", headers: {"X-Edgeseg-Key": key}}).catch(() => {}), PING_MS);
  for (let last = 0; ; ) {
    const answer = await fetched(`device/request?after=${last}`);
    if (answer.status === 204) continue;
    const asked = await answer.json();
    if (asked.request === "end") break;
    last = asked.id;
    say(asked.request === "measure" ? "Measuring" : "Running");
    let content;
    try {
      if (!engine && asked.request !== "open") throw new Error("The page was loaded anew.");
      const result = await requests[asked.request](asked);
      const [about, values] = Array.isArray(result) ? result : [result];
      content = packed({id: asked.id, ...about}, values);
    } catch (error) {
      content = packed({id: asked.id, error: String(error.message ?? error).slice(0, 900)});
    }
    await fetched("device/answer", content);
  }
  clearInterval(alive);
  engine?.close();
  say("All is done. This page can be closed.");
}

main().catch((error) => say(error.message));
