// Opens a folder of `--target onnx-hf` in transformers.js, and prints the tokens that it generates.
//
//     npm install --ignore-scripts @huggingface/transformers
//     node transformers_js.mjs FOLDER '[18,22,10,23,20,28]' 6
import { AutoModelForCausalLM, Tensor, env } from "@huggingface/transformers";
import { basename, dirname, resolve } from "node:path";
import { readFileSync } from "node:fs";

const [folder, ids, count] = [resolve(process.argv[2]), JSON.parse(process.argv[3]), Number(process.argv[4])];
env.allowRemoteModels = false;
env.localModelPath = dirname(folder);
const model = await AutoModelForCausalLM.from_pretrained(basename(folder), {
  subfolder: "",
  dtype: "fp32",
  session_options: { externalData: [{ path: "weights.bin", data: readFileSync(`${folder}/weights.bin`) }] },
});
const input_ids = new Tensor("int64", BigInt64Array.from(ids, BigInt), [1, ids.length]);
const attention_mask = new Tensor("int64", new BigInt64Array(ids.length).fill(1n), [1, ids.length]);
model.generation_config.eos_token_id = null;
const output = await model.generate({ input_ids, attention_mask, max_new_tokens: count, do_sample: false });
console.log(JSON.stringify([env.version, Array.from(output.data, Number).slice(ids.length)]));
