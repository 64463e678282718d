"""Tiny plans, written by hand with the onnx package: a one-layer decoder and a one-layer encoder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tokenizers
from msgspec import convert
from onnx import TensorProto, helper

from archc.plan import Manifest, Plan, PlanWriter

HIDDEN, HEADS, HEAD_DIM = 16, 2, 8
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|end|>", "<|im_start|>", "<|im_end|>"]


def bytes_tokenizer() -> tokenizers.Tokenizer:
    """Return a byte-level tokenizer: ids 0..255 are bytes (in its own order), then two merges, then special ones."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {char: index for index, char in enumerate(alphabet)}
    vocab["he"], vocab["ll"] = 256, 257
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[("h", "e"), ("l", "l")]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True) for name in SPECIAL])
    return tokenizer


class Tiny:
    """Builds tiny plans; each method returns what a hostile test may then change."""

    vocab, limit = 264, 64

    def __init__(self) -> None:
        self.tokenizer_json = bytes_tokenizer().to_str().encode()
        random = np.random.default_rng(0)

        def weight(*shape: int) -> np.ndarray[Any, np.dtype[np.float32]]:
            return random.standard_normal(shape).astype(np.float32) * 0.6

        self.weights = {
            "embed": weight(self.vocab, HIDDEN),
            "places": weight(self.limit, HIDDEN),
            "types": weight(2, HIDDEN),
            **{name: weight(HIDDEN, HIDDEN) for name in ("wq", "wk", "wv", "wo", "pool")},
            "head": weight(HIDDEN, self.vocab),
        }

    def tensors(self, names: list[str]) -> tuple[list[dict[str, Any]], bytes]:
        """Return the manifest's list and weights.bin."""
        listed, data = list[dict[str, Any]](), b""
        for name in names:
            data += bytes(-len(data) % 64)
            value = self.weights[name]
            listed.append(
                {
                    "name": name,
                    "shape": list(value.shape),
                    "dtype": "float32",
                    "offset": len(data),
                    "bytes": value.nbytes,
                }
            )
            data += value.tobytes()
        return listed, data

    def model(self, encoder: bool = False, window: int | None = None) -> tuple[onnx.ModelProto, dict[str, Any], bytes]:
        """Return graph, manifest (as plain data) and weights.bin of a decoder, or of an encoder with all outputs."""
        names = ["embed", "places", "wq", "wk", "wv", "wo", "head"] + (["types", "pool"] if encoder else [])
        listed, data = self.tensors(names)
        inits = []
        for item in listed:
            tensor = TensorProto(name=item["name"], data_type=1, dims=item["shape"], data_location=TensorProto.EXTERNAL)
            for key, value in (("location", "weights.bin"), ("offset", item["offset"]), ("length", item["bytes"])):
                tensor.external_data.add(key=key, value=str(value))
            inits.append(tensor)
        int64 = TensorProto.INT64
        for name, values in (
            ("heads", [0, 0, HEADS, HEAD_DIM]),
            ("merge", [0, 0, HIDDEN]),
            ("zero", [0]),
            ("two", [2]),
            ("last", [-1]),
        ):
            inits.append(helper.make_tensor(name, int64, [len(values)], values))
        nodes = [
            helper.make_node("Gather", ["embed", "input_ids"], ["e"]),
            helper.make_node("Gather", ["places", "position_ids"], ["p"]),
            helper.make_node("Add", ["e", "p"], ["x0"]),
        ]
        if encoder:
            nodes += [
                helper.make_node("Gather", ["types", "token_type_ids"], ["t"]),
                helper.make_node("Add", ["x0", "t"], ["x"]),
            ]
        else:
            nodes.append(helper.make_node("Identity", ["x0"], ["x"]))
        for letter in "qkv":
            nodes += [
                helper.make_node("MatMul", ["x", f"w{letter}"], [f"{letter}0"]),
                helper.make_node("Reshape", [f"{letter}0", "heads"], [f"{letter}1"]),
                helper.make_node("Transpose", [f"{letter}1"], [letter], perm=[0, 2, 1, 3]),
            ]
        keys, values = "k", "v"
        if not encoder:
            nodes.append(helper.make_node("Shape", ["attn_mask"], ["total"], start=-1))
            for letter, what in (("k", "key"), ("v", "value")):
                nodes += [
                    helper.make_node(
                        "TensorScatter",
                        [f"past_key_values.0.{what}", letter, "write_indices"],
                        [f"present.0.{what}"],
                        axis=-2,
                    ),
                    helper.make_node("Slice", [f"present.0.{what}", "zero", "total", "two"], [f"{letter}_all"]),
                ]
            keys, values = "k_all", "v_all"
        nodes += [
            helper.make_node("Attention", ["q", keys, values, "attn_mask"], ["a"], scale=HEAD_DIM**-0.5),
            helper.make_node("Transpose", ["a"], ["a1"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", ["a1", "merge"], ["a2"]),
            helper.make_node("MatMul", ["a2", "wo"], ["a3"]),
            helper.make_node("Add", ["x", "a3"], ["hidden_states"]),
            helper.make_node("Unsqueeze", ["logit_positions", "last"], ["rows"]),
            helper.make_node("GatherND", ["hidden_states", "rows"], ["chosen"], batch_dims=1),
            helper.make_node("MatMul", ["chosen", "head"], ["logits"]),
        ]
        ins: list[dict[str, Any]] = [
            {"name": "input_ids", "role": "token_ids", "dtype": "int64", "shape": ["batch", "seq"]},
            {"name": "position_ids", "role": "positions", "dtype": "int64", "shape": ["batch", "seq"]},
            {
                "name": "attn_mask",
                "role": "mask",
                "dtype": "bool",
                "shape": ["batch", 1, "seq", "total"],
                "mask": {"kind": "bidirectional" if encoder else "causal", "window": window},
            },
            {"name": "logit_positions", "role": "logit_positions", "dtype": "int64", "shape": ["batch", "n"]},
        ]
        outs = [{"name": "logits", "role": "logits", "dtype": "float32", "shape": ["batch", "n", self.vocab]}]
        state: list[dict[str, Any]] = []
        if encoder:
            nodes += [
                helper.make_node("Gather", ["hidden_states", "zero"], ["f0"], axis=1),
                helper.make_node("Squeeze", ["f0", "one"], ["f1"]),
                helper.make_node("MatMul", ["f1", "pool"], ["f2"]),
                helper.make_node("Tanh", ["f2"], ["pooled"]),
            ]
            inits.append(helper.make_tensor("one", int64, [1], [1]))
            ins.append({"name": "token_type_ids", "role": "token_types", "dtype": "int64", "shape": ["batch", "seq"]})
            outs += [
                {
                    "name": "hidden_states",
                    "role": "hidden_states",
                    "dtype": "float32",
                    "shape": ["batch", "seq", HIDDEN],
                },
                {"name": "pooled", "role": "pooled", "dtype": "float32", "shape": ["batch", HIDDEN]},
            ]
        else:
            ins.append({"name": "write_indices", "role": "write_indices", "dtype": "int64", "shape": ["batch"]})
            state = [
                {
                    "kind": "kv",
                    "input": f"past_key_values.0.{what}",
                    "output": f"present.0.{what}",
                    "dtype": "float32",
                    "shape": ["batch", HEADS, "capacity", HEAD_DIM],
                }
                for what in ("key", "value")
            ]
        onnx_type = {"int64": int64, "bool": TensorProto.BOOL, "float32": TensorProto.FLOAT}
        graph = helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info(i["name"], onnx_type[i["dtype"]], i["shape"]) for i in ins]
            + [helper.make_tensor_value_info(s["input"], 1, s["shape"]) for s in state],
            [helper.make_tensor_value_info(o["name"], 1, o["shape"]) for o in outs]
            + [helper.make_tensor_value_info(s["output"], 1, s["shape"]) for s in state],
            inits,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)], ir_version=11)
        manifest = {
            "format": 1,
            "archc": "0.1.0",
            "family": "tiny",
            "topology": "encoder" if encoder else "decoder",
            "spec": "family: tiny\n",
            "config": {"hidden_size": HIDDEN},
            "target": "ort-cpu",
            "dtype": "float32",
            "quantization": None,
            "inputs": ins,
            "outputs": outs,
            "state": state,
            "limits": {"max_seq_len": self.limit, "vocab_size": self.vocab} | ({"token_types": 2} if encoder else {}),
            "tokens": {"bos": None, "eos": [258], "pad": None},
            "tensors": listed,
            "parameters": sum(self.weights[name].size for name in names),
            "flops_per_token": 1,
            "entries": {},
            "builder": {"python": "3"},
        }
        return model, manifest, data

    def tokenizer_files(self) -> dict[str, bytes]:
        """Return the tokenizer's entries."""
        config = {"chat_template": TEMPLATE, "eos_token": {"content": "<|end|>"}}
        return {
            "tokenizer/tokenizer.json": self.tokenizer_json,
            "tokenizer/tokenizer_config.json": json.dumps(config).encode(),
        }

    def write(
        self,
        path: Path,
        *,
        encoder: bool = False,
        window: int | None = None,
        change: Callable[[onnx.ModelProto, dict[str, Any]], object] | None = None,
        extra: dict[str, bytes] | None = None,
        with_tokenizer: bool = True,
    ) -> Path:
        """Write a plan, after `change` has had its way with graph and manifest."""
        model, manifest, data = self.model(encoder, window)
        if change is not None:
            change(model, manifest)
        files = {**(self.tokenizer_files() if with_tokenizer else {}), **(extra or {})}
        with PlanWriter(path) as writer:
            writer.add("model.onnx", model.SerializeToString())
            with writer.stream("weights.bin") as stream:
                stream.write(data)
            for name, content in files.items():
                writer.add(name, content)
            return writer.finish(convert(manifest, Manifest))

    def expected(self, ids: list[int], window: int | None = None) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Return the decoder's logits for one row, [seq, vocab], in plain numpy and float64."""
        w = {name: value.astype(np.float64) for name, value in self.weights.items()}
        x = w["embed"][ids] + w["places"][: len(ids)]
        split = [(x @ w[n]).reshape(len(ids), HEADS, HEAD_DIM).transpose(1, 0, 2) for n in ("wq", "wk", "wv")]
        scores = split[0] @ split[1].transpose(0, 2, 1) * HEAD_DIM**-0.5
        i, j = np.indices(scores.shape[1:])
        scores = np.where((j <= i) & (j > i - (window or self.limit)), scores, -np.inf)
        chances = np.exp(scores - scores.max(-1, keepdims=True))
        chances /= chances.sum(-1, keepdims=True)
        mixed = (chances @ split[2]).transpose(1, 0, 2).reshape(len(ids), HIDDEN)
        return np.asarray((x + mixed @ w["wo"]) @ w["head"])


def rewritten(plan: Path, out: Path, change: Callable[[dict[str, onnx.ModelProto], dict[str, Any]], object]) -> Path:
    """Write a plan again after `change` has had its way with its graphs, by entry, and its manifest."""
    with Plan(plan) as opened:
        entries = {name: opened.read(name) for name in opened.names}
    manifest = json.loads(entries.pop("manifest.json"))
    entries.pop("packed.onnx", None)  # it would have to change, too
    manifest["packed"] = None
    graphs = {name: onnx.load_from_string(data) for name, data in entries.items() if name.endswith(".onnx")}
    change(graphs, manifest)
    for name in [name for name in entries if name.endswith(".onnx")]:
        del entries[name]
    with PlanWriter(out) as writer:
        for name, graph in graphs.items():
            writer.add(name, graph.SerializeToString())
        for name, data in entries.items():
            writer.add(name, data)
        return writer.finish(convert({**manifest, "entries": {}}, Manifest))
