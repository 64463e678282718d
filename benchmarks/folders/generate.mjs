// Greedy decoding with onnxruntime-web, for Node and browsers: `read` returns the bytes of a file of the folder.
export async function generate(ort, read, ids, count, kind, start) {
  ort.env.wasm.numThreads = 1;
  const weights = await read("weights.bin");
  const open = async (name) =>
    ort.InferenceSession.create(await read(`${name}.onnx`), {
      executionProviders: ["wasm"],
      externalData: [{ path: "weights.bin", data: weights }],
    });
  const int64 = (numbers) => new ort.Tensor("int64", BigInt64Array.from(numbers, BigInt), [1, numbers.length]);
  const ones = (length) => int64(Array(length).fill(1));
  const run = (session, feeds) =>
    session.run(Object.fromEntries(Object.entries(feeds).filter(([name]) => session.inputNames.includes(name))));
  const last = (tensor) => tensor.data.subarray(tensor.data.length - tensor.dims.at(-1));
  if (kind === "encoder") {
    const feeds = { input_ids: int64(ids), attention_mask: ones(ids.length), token_type_ids: int64(ids.map(() => 0)) };
    const results = await run(await open("model"), feeds);
    return ["logits", "last_hidden_state"].flatMap((name) => Array.from(last(results[name]).slice(0, 8)));
  }
  let call = ids, length = 0, source = {};
  if (kind === "encoder-decoder") {
    const encoded = await run(await open("encoder_model"), { input_ids: int64(ids), attention_mask: ones(ids.length) });
    source = { encoder_hidden_states: encoded.last_hidden_state, encoder_attention_mask: ones(ids.length) };
    call = start;
  }
  const session = await open(kind === "decoder" ? "model" : "decoder_model_merged");
  const types = { float32: Float32Array, int64: BigInt64Array };
  let past = {};
  for (const item of session.inputMetadata.filter((item) => item.name.startsWith("past_"))) {
    const shape = item.shape.map((size, axis) => (typeof size === "number" ? size : axis ? 0 : 1));
    past[item.name] = new ort.Tensor(item.type, new types[item.type](shape.reduce((a, b) => a * b)), shape);
  }
  const present = (name) => name.replace("past_key_values", "present").replace("past_", "present_");
  const made = [];
  for (let step = 0; step < count; step++) {
    const positions = call.map((_, index) => length + index);
    const branch = new ort.Tensor("bool", [length > 0], [1]);
    length += call.length;
    const results = await run(session, {
      input_ids: int64(call), attention_mask: ones(length), position_ids: int64(positions),
      use_cache_branch: branch, ...source, ...past,
    });
    const scores = last(results.logits);
    call = [scores.indexOf(scores.reduce((a, b) => Math.max(a, b)))];
    made.push(...call);
    past = Object.fromEntries(Object.keys(past).map((name) => [name, results[present(name)]]));
  }
  return made;
}
