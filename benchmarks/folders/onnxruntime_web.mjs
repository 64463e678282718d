// Opens a folder of `--target onnx-hf` in onnxruntime-web, on WebAssembly in Node.
//
//     npm install --ignore-scripts onnxruntime-web
//     node onnxruntime_web.mjs FOLDER '[1,2,3]' COUNT decoder|encoder|encoder-decoder START
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { generate } from "./generate.mjs";

const [folder, ids, count, kind, start] = process.argv.slice(2);
const ort = await import(createRequire(`${process.cwd()}/`).resolve("onnxruntime-web"));
const read = async (name) => new Uint8Array(readFileSync(`${folder}/${name}`));
const made = await generate(ort, read, JSON.parse(ids), Number(count), kind ?? "decoder", JSON.parse(start ?? "[]"));
console.log(JSON.stringify([ort.env.versions.web, made]));
