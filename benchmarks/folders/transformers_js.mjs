// Opens a folder of `--target onnx-hf` in transformers.js, and prints tokens that it generates, or an encoder's outputs.
//
//     npm install --ignore-scripts @huggingface/transformers
//     node transformers_js.mjs FOLDER '[1,2,3]' COUNT decoder|encoder|encoder-decoder
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, resolve } from "node:path";

const [place, text, count, kind] = process.argv.slice(2);
const { AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM, Tensor, env } = await import(
  createRequire(`${process.cwd()}/`).resolve("@huggingface/transformers")
);
const folder = resolve(place), ids = JSON.parse(text);
env.allowRemoteModels = false;
env.localModelPath = dirname(folder);
const options = {
  subfolder: "",
  dtype: "fp32",
  session_options: { externalData: [{ path: "weights.bin", data: readFileSync(`${folder}/weights.bin`) }] },
};
const int64 = (numbers) => new Tensor("int64", BigInt64Array.from(numbers, BigInt), [1, numbers.length]);
const inputs = { input_ids: int64(ids), attention_mask: int64(ids.map(() => 1)) };
const first = (tensor) => Array.from(tensor.slice(0, -1).data).slice(0, 8);
let made;
if (kind === "encoder") {
  inputs.token_type_ids = int64(ids.map(() => 0));
  const masked = await AutoModelForMaskedLM.from_pretrained(basename(folder), options);
  const plain = await AutoModel.from_pretrained(basename(folder), options);
  made = [...first((await masked(inputs)).logits), ...first((await plain(inputs)).last_hidden_state)];
} else {
  const kinds = { decoder: AutoModelForCausalLM, "encoder-decoder": AutoModelForSeq2SeqLM };
  const model = await kinds[kind ?? "decoder"].from_pretrained(basename(folder), options);
  Object.assign(model.generation_config, { eos_token_id: null, forced_eos_token_id: null, forced_bos_token_id: null });
  const output = await model.generate({ ...inputs, max_new_tokens: Number(count), do_sample: false, num_beams: 1 });
  made = Array.from(output.data, Number).slice(-Number(count));
}
console.log(JSON.stringify([env.version, made]));
