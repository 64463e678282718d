// OpenAI's client for Node against a server of the plans of run.py.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import OpenAI from "openai";

const client = new OpenAI({ baseURL: process.argv[2], apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user", content: "What is 12+30?" }];
const properties = { a: { enum: [1, 2] }, b: { enum: [3] } };
const parameters = { type: "object", properties, required: ["a", "b"], additionalProperties: false };
const tool = { type: "function", function: { name: "add", parameters } };

function check(name, value, expected) {
  console.log(`${name}: ${JSON.stringify(value)}`);
  assert.deepEqual(value, expected);
}

const { version } = JSON.parse(readFileSync(new URL("node_modules/openai/package.json", import.meta.url)));
console.log(`== openai ${version} for Node ${process.version}`);

const names = [];
for await (const model of client.models.list()) names.push(model.id);
check("models", names, ["tiny", "words"]);

const answer = await client.chat.completions.create({ model: "tiny", messages });
check("chat", [answer.choices[0].message.content, answer.usage.completion_tokens], ["42", 2]);

let text = "", usage = null;
const stream_options = { include_usage: true };
for await (const part of await client.chat.completions.create({ model: "tiny", messages, stream: true, stream_options })) {
  text += part.choices[0]?.delta.content ?? "";
  usage = part.usage ?? usage;
}
check("streamed chat", [text, usage.completion_tokens], ["42", 2]);

const runner = client.chat.completions.stream({ model: "tiny", messages, tools: [tool], tool_choice: "required", max_tokens: 120 });
const { choices } = await runner.finalChatCompletion();
const call = choices[0].message.tool_calls[0].function;
check("streamed tool call", [call.name, Object.keys(JSON.parse(call.arguments))], ["add", ["a", "b"]]);

const schema = { type: "object", properties: { sum: { type: "integer", minimum: 0, maximum: 99 } }, required: ["sum"], additionalProperties: false };
const response_format = { type: "json_schema", json_schema: { name: "sum", schema } };
const formatted = await client.chat.completions.create({ model: "tiny", messages, response_format, max_tokens: 60 });
check("json_schema", Object.keys(JSON.parse(formatted.choices[0].message.content)), ["sum"]);

const vectors = await client.embeddings.create({ model: "words", input: ["w1 w2", "w9"] });
check("embeddings", vectors.data.map((item) => item.embedding.length), [32, 32]);

const response = await client.responses.create({ model: "tiny", input: "What is 12+30?" });
check("responses", [response.output_text, response.usage.output_tokens], ["42", 2]);

const kinds = new Set();
for await (const event of await client.responses.create({ model: "tiny", input: "What is 12+30?", stream: true })) kinds.add(event.type);
check("streamed responses", [...kinds].at(-1), "response.completed");

const error = await client.chat.completions.create({ model: "tiny", messages, temperature: -1 }).catch((thrown) => thrown);
check("error", [error.status, error.param], [400, "temperature"]);
