// Pictures brought to a file's size, the file run by LiteRT.js, its scores read: as `kseg.predict` does it.
import { getDefaultEnvironment, getGlobalLiteRt, loadLiteRt } from "@litertjs/core";
import { factsOf } from "./tflite.js";

export const NONE = 65535; // the id of a pixel without a label, where it may have several
const STRIP = 2 ** 20; // scores held at a time

/**
 * Load LiteRT.js: with the machine's cores where the page is isolated. Return the number of threads.
 *
 * Its class for files knows three types of tensors and no quantisation: so what stands below it is called.
 */
export async function loadRuntime(folder, wanted) {
  const cores = navigator.hardwareConcurrency || 1;
  let threads = globalThis.crossOriginIsolated ? Math.min(wanted ?? cores, cores) : 1;
  try {
    await loadLiteRt(folder, { threads: threads > 1 });
  } catch (error) {
    if (threads === 1) throw error;
    threads = 1; // a browser without relaxed SIMD
    await loadLiteRt(folder);
  }
  return threads;
}

/** A `.tflite` file that is ready to run. */
export class Segmenter {
  static async open(bytes, threads) {
    const made = new Segmenter(), { liteRtWasm: wasm } = getGlobalLiteRt();
    Object.assign(made, { facts: await factsOf(bytes), wasm, environment: getDefaultEnvironment() });
    const { liteRtEnvironment } = made.environment;
    made.place = wasm._malloc(bytes.length);
    wasm.HEAPU8.set(bytes, made.place);
    made.model = wasm.loadModel(liteRtEnvironment, made.place, bytes.length);
    made.compiled = await wasm.compileModel(liteRtEnvironment, made.model, {
      environment: made.environment, accelerator: "wasm", cpuOptions: { numThreads: threads },
      gpuOptions: {}, webNNOptions: {},
    });
    return made;
  }

  delete() {
    this.compiled.delete();
    this.model.delete();
    this.wasm._free(this.place);
  }

  /** Run float values of a picture; return what comes out, as floats or ids, and the milliseconds. */
  async run(values) {
    const { input, output } = this.facts, { wasm } = this, given = quantized(values, this.facts);
    const type = this.model.getInputTensorType(0, 0), mode = wasm.LiteRtTensorBufferLockMode;
    const buffer = wasm.LiteRtTensorBuffer.createManaged(
      this.environment.liteRtEnvironment, wasm.LiteRtTensorBufferType.HOST_MEMORY, type, given.byteLength,
    );
    type.delete();
    const place = buffer.lock(mode.WRITE);
    wasm.HEAPU8.set(new Uint8Array(given.buffer), place);
    buffer.unlock();
    const start = performance.now();
    const [result] = await this.compiled.run(0, [buffer]);
    const milliseconds = performance.now() - start;
    const from = result.lock(mode.READ);
    const raw = new output.array(wasm.HEAPU8.slice(from, from + result.packedSize()).buffer);
    result.unlock();
    for (const each of [buffer, result]) each.delete();
    const read = (value) => (Number(value) - output.zero) * output.scale;
    const plain = output.float || this.facts.kind === "classes";
    return { values: plain ? raw : Float32Array.from(raw, read), milliseconds };
  }
}

/** Return pixel values 0–255 as the file takes them. */
function quantized(values, { input, range: [black, white] }) {
  const step = (white - black) / 255, scaled = values.map((value) => black + step * value);
  if (input.float) return scaled;
  const [low, high] = input.ends ?? [-(2 ** 31), 2 ** 31 - 1];
  return input.array.from(scaled, (value) => {
    const exact = value / input.scale + input.zero, up = Math.round(exact);
    const whole = up - exact === 0.5 && up % 2 ? up - 1 : up; // halves go to the even number
    const kept = Math.max(low, Math.min(whole, high));
    return input.array === BigInt64Array ? BigInt(kept) : kept;
  });
}

/**
 * Return for each place of a side brought to another length where its share begins, and the weights: by the
 * distance to the centres of pixels; antialiased, a shorter side means over all that one of its own covers.
 */
function weights(from, to, antialias) {
  return Array.from({ length: to }, (_, place) => {
    if (from === to) return [place, [1]];
    const centre = (place + 0.5) * from / to, reach = antialias ? Math.max(1, from / to) : 1;
    const first = Math.max(0, Math.ceil(centre - reach - 0.5));
    const last = Math.min(from - 1, Math.floor(centre + reach - 0.5));
    const shares = [];
    for (let at = first; at <= last; at++) shares.push(Math.max(0, 1 - Math.abs(at + 0.5 - centre) / reach));
    const total = shares.reduce((sum, share) => sum + share, 0);
    return [first, shares.map((share) => share / total)];
  });
}

/** Return maps `(rows, side, step)` with the middle axis resized by its weights. */
function resized(from, rows, step, ways) {
  const to = new Float32Array(rows * ways.length * step), side = from.length / (rows * step);
  for (let row = 0, at = 0; row < rows; row++)
    for (const [first, shares] of ways) {
      for (let n = 0; n < shares.length; n++) {
        const start = (row * side + first + n) * step, share = shares[n];
        for (let c = 0; c < step; c++) to[at + c] += share * from[start + c];
      }
      at += step;
    }
  return to;
}

/** Return float32 values 0–255 of a picture at the size of the file. */
export function pixelsOf(bitmap, [, height, width, channels]) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
  const values = new Float32Array(bitmap.width * bitmap.height * channels);
  for (let pixel = 0, at = 0; at < data.length; pixel++, at += 4)
    if (channels === 1) // luma in whole steps, as Pillow has it
      values[pixel] = (19595 * data[at] + 38470 * data[at + 1] + 7471 * data[at + 2] + 32768) >> 16;
    else for (let c = 0; c < channels; c++) values[pixel * channels + c] = data[at + c];
  const narrow = resized(values, bitmap.height, channels, weights(bitmap.width, width, true));
  return resized(narrow, 1, width * channels, weights(bitmap.height, height, true));
}

/** Return "logits" or "probabilities", or null where neither the file nor its values tell. */
function kindOf(values, { kind, output: { shape: [, , , count] } }) {
  if (kind) return kind;
  for (let at = 0; at < values.length; at += count) {
    let sum = 0;
    for (let c = 0; c < count; c++) sum += values[at + c] < 0 ? NaN : values[at + c];
    if (count < 2 || !(Math.abs(sum - 1) < 0.01)) return null;
  }
  return "probabilities";
}

const nearest = (place, from, to) => Math.floor((place + 0.5) * from / to);
const sigmoid = (score) => 1 / (1 + Math.exp(-score));

/** Return how sure it is of the best of some scores. */
function sureness(scores, at, count, best, logits) {
  let sum = 0;
  for (let c = 0; c < count; c++)
    sum += logits ? Math.exp(scores[at + c] - scores[at + best]) : Math.max(scores[at + c], 1e-7);
  return (logits ? 1 : Math.max(scores[at + best], 1e-7)) / sum;
}

/**
 * Return `ids` and `confidence` (null for ids and for scores of which nothing tells what they are) of each
 * pixel of a picture `(height, width)`. Of one channel: whether it exceeds its threshold. Of several labels
 * per pixel: the surest one that does, else `NONE`.
 */
export function read(values, facts, [height, width]) {
  const [, rows, columns, count] = facts.output.shape, kind = kindOf(values, facts);
  const ids = new Uint16Array(height * width);
  if (kind === "classes") {
    for (let y = 0, at = 0; y < height; y++)
      for (let x = 0; x < width; x++, at++)
        ids[at] = Number(values[nearest(y, rows, height) * columns + nearest(x, columns, width)]);
    return { ids, confidence: null };
  }
  if (!values.every(Number.isFinite)) throw new Error("the file gives scores that are not finite");
  if (!kind && (count === 1 || facts.multilabel))
    throw new Error("nothing tells whether the file gives logits or probabilities; export it by kseg");
  const logits = kind === "logits", alone = count === 1 || facts.multilabel;
  const confidence = kind && new Float32Array(height * width);
  // the scores of all classes at the picture's size may be gigabytes: so a few rows at a time
  const across = weights(columns, width, false), down = weights(rows, height, false);
  const step = Math.max(8, Math.floor(STRIP / (width * count)));
  for (let top = 0, pixel = 0; top < height; top += step) {
    const ways = down.slice(top, top + step), start = ways[0][0];
    const [first, shares] = ways.at(-1), end = first + shares.length;
    const part = values.subarray(start * columns * count, end * columns * count);
    const narrow = resized(part, end - start, count, across);
    const scores = resized(narrow, 1, width * count, ways.map(([at, shares]) => [at - start, shares]));
    for (let at = 0; at < scores.length; at += count, pixel++) {
      let best = 0;
      for (let c = 1; c < count; c++) if (scores[at + c] > scores[at + best]) best = c;
      const on = scores[at + best] > (logits ? 0 : 0.5);
      ids[pixel] = !alone ? best : count === 1 && !facts.multilabel ? Number(on) : on ? best : NONE;
      if (!confidence) continue;
      const one = logits ? sigmoid(scores[at + best]) : Math.min(1, Math.max(0, scores[at + best]));
      confidence[pixel] = alone ? (on ? one : 1 - one) : sureness(scores, at, count, best, logits);
    }
  }
  return { ids, confidence };
}
