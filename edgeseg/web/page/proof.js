// Reads MODEL.proof.zip and compares answers with it, as edgeseg.proof does; a classic script.
"use strict";

// The entries of a zip archive that has stored ones alone, by name.
function storedEntries(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let end = bytes.length - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error("The proof is no zip archive.");
  const entries = new Map();
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (view.getUint32(at, true) !== 0x02014b50 || view.getUint16(at + 10, true) !== 0) {
      throw new Error("The proof has entries that are not stored.");
    }
    const size = view.getUint32(at + 24, true), nameLength = view.getUint16(at + 28, true);
    const local = view.getUint32(at + 42, true);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    entries.set(name, bytes.subarray(start, start + size));
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return entries;
}

async function grayValues(png) {
  const image = await createImageBitmap(new Blob([png]), {colorSpaceConversion: "none", premultiplyAlpha: "none"});
  const context = new OffscreenCanvas(image.width, image.height).getContext("2d");
  context.drawImage(image, 0, 0);
  const {data} = context.getImageData(0, 0, image.width, image.height);
  return Uint8Array.from({length: data.length / 4}, (_, pixel) => data[4 * pixel]);
}

// Runs every image, and says which share of the decided pixels has the class that Keras gives.
async function prove(bytes, precision, classesOf) {
  const entries = storedEntries(bytes);
  const {gates} = JSON.parse(new TextDecoder().decode(entries.get("proof.json")));
  const gate = gates[precision];
  if (!gate) throw new Error(`The proof has no gate for ${precision}.`);
  const images = [];
  for (const name of [...entries.keys()].filter((entry) => entry.startsWith("images/")).sort()) {
    const [number] = name.split("/")[1].split(".");
    const expected = await grayValues(entries.get(`classes/${number}.png`));
    const margins = await grayValues(entries.get(`margins/${number}.png`));
    const {ids} = await classesOf(new Blob([entries.get(name)]));
    if (ids.length !== expected.length) throw new Error("The proof is of another model.");
    let decided = 0, right = 0;
    for (let pixel = 0; pixel < ids.length; pixel++) {
      if (Math.fround(Math.fround(margins[pixel] / 255) ** 2) >= gate.decided_from) {
        decided++;
        right += ids[pixel] === expected[pixel];
      }
    }
    images.push({decided, right});
  }
  const sum = (key) => images.reduce((total, image) => total + image[key], 0);
  const agreement = sum("right") / Math.max(1, sum("decided"));
  return {
    images: images.length,
    agreement,
    minAgreement: gate.min_agreement,
    passed: sum("decided") > 0 && agreement >= gate.min_agreement,
  };
}
