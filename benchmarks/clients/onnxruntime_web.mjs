// Opens a folder of `--target onnx-hf` in onnxruntime-web, on WebAssembly in Node, and prints the greedy tokens.
//
//     npm install --ignore-scripts onnxruntime-web
//     node onnxruntime_web.mjs FOLDER '[18,22,10,23,20,28]' 6
import * as ort from "onnxruntime-web";
import { readFileSync } from "node:fs";
const folder = process.argv[2], ids = JSON.parse(process.argv[3]), count = Number(process.argv[4]);
ort.env.wasm.numThreads = 1;
const session = await ort.InferenceSession.create(new Uint8Array(readFileSync(`${folder}/model.onnx`)), {
  executionProviders: ["wasm"],
  externalData: [{ path: "weights.bin", data: new Uint8Array(readFileSync(`${folder}/weights.bin`)) }],
});
const int64 = (numbers) => new ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), [1, numbers.length]);
let past = {}, call = ids, length = 0;
for (const item of session.inputMetadata) {
  if (item.name.startsWith("past")) past[item.name] = new ort.Tensor("float32", new Float32Array(0), [1, item.shape[1], 0, item.shape[3]]);
}
const made = [];
for (let step = 0; step < count; step++) {
  const positions = call.map((_, index) => length + index);
  length += call.length;
  const feeds = { input_ids: int64(call), attention_mask: int64(Array(length).fill(1)), position_ids: int64(positions), ...past };
  for (const name of Object.keys(feeds)) if (!session.inputNames.includes(name)) delete feeds[name];
  const results = await session.run(feeds);
  const [, rows, width] = results.logits.dims;
  const last = results.logits.data.subarray((rows - 1) * width);
  made.push(last.indexOf(last.reduce((a, b) => Math.max(a, b))));
  call = [made.at(-1)];
  past = Object.fromEntries(Object.keys(past).map((name) => [name, results[name.replace("past_key_values", "present")]]));
}
console.log(JSON.stringify([ort.env.versions.web, made]));
