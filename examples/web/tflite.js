// What a `.tflite` file tells of itself, which LiteRT.js leaves out: quantisation, labels, normalisation.
// Fields have the numbers that the schemas give them: `schema.fbs` of TensorFlow Lite, `metadata_schema.fbs`.

const KINDS = ["logits", "probabilities", "classes"]; // as kseg's files name their output
const ACTIVATIONS = ["none", "sigmoid", "softmax"];
const ARRAYS = {
  0: Float32Array, 2: Int32Array, 3: Uint8Array, 4: BigInt64Array, 7: Int16Array, 9: Int8Array,
}; // by `TensorType`
const ENDS = { 3: [0, 255], 7: [-32768, 32767], 9: [-128, 127] };
const FLOAT32 = 0, INT32 = 2, INT64 = 4, IMAGE_NORMALIZATION = 1;

/** A table of a FlatBuffer, whose fields are asked for by their numbers. */
class Table {
  constructor(bytes, identifier, place) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (place === undefined) {
      const found = bytes.length < 8 ? "" : new TextDecoder("latin1").decode(bytes.subarray(4, 8));
      if (found !== identifier) throw new Error(`this is no ${identifier} FlatBuffer`);
      place = this.view.getUint32(0, true);
    }
    this.place = place;
  }

  field(number) {
    const fields = this.place - this.view.getInt32(this.place, true), at = 4 + 2 * number;
    const offset = at < this.view.getUint16(fields, true) ? this.view.getUint16(fields + at, true) : 0;
    return offset && this.place + offset;
  }

  byte(number) {
    const at = this.field(number);
    return at ? this.view.getUint8(at) : 0;
  }

  uint32(number) {
    const at = this.field(number);
    return at ? this.view.getUint32(at, true) : 0;
  }

  table(number) {
    const at = this.field(number);
    return at ? new Table(this.bytes, null, at + this.view.getUint32(at, true)) : null;
  }

  vector(number, size, read) {
    const at = this.field(number);
    if (!at) return [];
    const start = at + this.view.getUint32(at, true);
    return Array.from({ length: this.view.getUint32(start, true) }, (_, n) => read(start + 4 + n * size));
  }

  tables(number) {
    return this.vector(number, 4, (at) => new Table(this.bytes, null, at + this.view.getUint32(at, true)));
  }

  int32s(number) { return this.vector(number, 4, (at) => this.view.getInt32(at, true)); }
  int64s(number) { return this.vector(number, 8, (at) => Number(this.view.getBigInt64(at, true))); }
  floats(number) { return this.vector(number, 4, (at) => this.view.getFloat32(at, true)); }

  /** Return the bytes of a vector of them, or of a text. */
  content(number) {
    const at = this.field(number);
    if (!at) return new Uint8Array();
    const start = at + this.view.getUint32(at, true);
    return this.bytes.subarray(start + 4, start + 4 + this.view.getUint32(start, true));
  }

  text(number) { return new TextDecoder().decode(this.content(number)); }
}

function tensorOf(table) {
  const type = table.byte(1), quantization = table.table(4);
  if (!(type in ARRAYS)) throw new Error(`tensor type ${type} is not known here; export the file by kseg`);
  const scale = quantization?.floats(2)[0] ?? 0;
  return {
    shape: table.int32s(0), type, float: type === FLOAT32, ends: ENDS[type], array: ARRAYS[type],
    quantized: scale > 0, scale: scale || 1, // integers without a scale are values
    zero: quantization?.int64s(3)[0] ?? 0,
  };
}

/** Return the class names behind a file: the first text of a ZIP archive. */
async function labelsOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let end = bytes.length - 22; end >= 0 && end > bytes.length - 66000; end--) {
    if (view.getUint32(end, true) !== 0x06054b50) continue;
    const directory = end - view.getUint32(end + 12, true);
    const start = directory - view.getUint32(end + 16, true); // of the archive within the file
    const header = Math.max(0, start) + view.getUint32(directory + 42, true);
    const from = header + 30 + view.getUint16(header + 26, true) + view.getUint16(header + 28, true);
    const part = new Blob([bytes.subarray(from, from + view.getUint32(directory + 20, true))]);
    const packed = view.getUint16(directory + 10, true) !== 0;
    const plain = packed ? part.stream().pipeThrough(new DecompressionStream("deflate-raw")) : part.stream();
    return (await new Response(plain).text()).replace(/\r?\n$/, "").split(/\r?\n/);
  }
  return [];
}

function metadataOf(model) {
  const entry = model.tables(6).find((each) => each.text(0) === "TFLITE_METADATA");
  const found = { activation: null, multilabel: false, normalization: null, told: Boolean(entry) };
  if (!entry) return found;
  const content = model.tables(4)[entry.uint32(1)].content(0);
  const [graph] = new Table(content, "M001").tables(3);
  for (const unit of graph?.tables(2).flatMap((image) => image.tables(4)) ?? [])
    if (unit.byte(0) === IMAGE_NORMALIZATION)
      found.normalization = { mean: unit.table(1).floats(0)[0], std: unit.table(1).floats(1)[0] };
  for (const custom of graph?.tables(9) ?? []) {
    if (custom.text(0) === "KSEG_MULTILABEL") found.multilabel = true;
    if (custom.text(0) === "SEGMENTER_METADATA")
      found.activation = ACTIVATIONS[new Table(custom.content(1), "V001").byte(0)];
  }
  return found;
}

/** Return what the input takes for pixel values 0 and 255, and whether the file tells it. */
function rangeOf({ normalization }, input) {
  if (normalization?.std)
    return { range: [0, 255].map((value) => (value - normalization.mean) / normalization.std), told: true };
  if (input.ends && input.quantized)
    return { range: input.ends.map((end) => input.scale * (end - input.zero)), told: true };
  return { range: [0, 255], told: false };
}

/**
 * Return the facts of a file: its input and output (shape, array, scale, zero, ends), `kind` (what it gives:
 * "logits", "probabilities", "classes", or null where nothing tells), `range`, `labels`, `multilabel`.
 */
export async function factsOf(bytes) {
  const model = new Table(bytes, "TFL3");
  const [graph] = model.tables(2), [signature] = model.tables(7), tensors = graph.tables(0);
  const places = [graph.int32s(1), graph.int32s(2)];
  if (places.some(({ length }) => length !== 1)) throw new Error("a segmenter has one input and one output");
  const [input, output] = places.map(([place]) => tensorOf(tensors[place]));
  const metadata = metadataOf(model), name = signature?.tables(1)[0]?.text(0);
  const ids = !output.quantized && [INT32, INT64].includes(output.type)
    && (output.shape.length === 3 || output.shape[3] === 1);
  const applied = ["softmax", "sigmoid"].includes(metadata.activation) ? "logits" : null;
  const kind = KINDS.includes(name) ? name : ids ? "classes" : applied;
  if (input.shape.length !== 4 || ![1, 3].includes(input.shape[3]))
    throw new Error(`the file takes (${input.shape.join(", ")}); a page has pictures of 1 or 3 channels`);
  if (kind !== "classes" && output.shape.length !== 4)
    throw new Error(`the file gives (${output.shape.join(", ")}); expected (B, H, W, classes)`);
  const { range, told } = rangeOf(metadata, input);
  const labels = await labelsOf(bytes);
  return { input, output, kind, range, rangeTold: told, labels, multilabel: metadata.multilabel };
}
