"""Time and peak memory of building a 7B checkpoint in each published format: python benchmarks/packed_build.py.

The checkpoint has Llama 2 7B's shapes and zeros as weights, so that its files are mostly holes and need little disk;
the plans are as large as of any weights. Resident memory counts mapped pages of the files, which the system takes back
at will; anonymous memory, sampled every 20 ms, does not. CPU seconds are those of all threads, and vary less than the
time on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

HIDDEN, INTERMEDIATE, VOCAB, BLOCK = 4096, 11008, 32000, 128
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": HIDDEN,
    "intermediate_size": INTERMEDIATE,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": VOCAB,
    "max_position_embeddings": 4096,
    "rms_norm_eps": 1e-5,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}
FP8 = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [BLOCK, BLOCK]}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": BLOCK, "desc_act": False, "sym": True}
SHAPES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN, HIDDEN),
    "self_attn.v_proj": (HIDDEN, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INTERMEDIATE, HIDDEN),
    "mlp.up_proj": (INTERMEDIATE, HIDDEN),
    "mlp.down_proj": (HIDDEN, INTERMEDIATE),
}
# format: (packing of matrices, dtype of the other tensors, quantization_config)
FORMATS = {
    "safetensors": ("plain", torch.bfloat16, None),
    "bin": ("plain", torch.float16, None),
    "fp8": ("fp8", torch.bfloat16, FP8),
    "gptq": ("gptq", torch.float16, GPTQ),
}
NAMES = {
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.float8_e4m3fn: "F8_E4M3",
}
Tensors = dict[str, torch.Tensor]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    options.add_argument("--quantize", nargs="+", choices=["int4", "int8"], default=["int4", "int8"])
    options.add_argument("--layers", type=int, default=32)
    options.add_argument("--folder", help="where temporary files are written; default: the system's place for them")
    given = options.parse_args()
    print("| checkpoint | build | plan GB | seconds | CPU seconds | resident MiB | anonymous MiB |")
    print("| --- " * 7 + "|")
    for name in given.formats:
        with tempfile.TemporaryDirectory(dir=given.folder) as folder:
            checkpoint, plan = Path(folder) / name, Path(folder) / "engine.plan"
            write_checkpoint(checkpoint, name, given.layers)
            for quantize in given.quantize:
                seconds, busy, resident, anonymous = measure(checkpoint, plan, quantize)
                size = plan.stat().st_size / 1e9
                row = f"| {name} | {quantize} | {size:.1f} | {seconds:.0f} | {busy:.0f} | {resident} | {anonymous} |"
                print(row, flush=True)
                plan.unlink()


def measure(checkpoint: Path, plan: Path, quantize: str) -> tuple[float, float, int, int]:
    """Build a plan in a process; return its seconds, its CPU seconds, and its peaks of memory in MiB."""
    command = [sys.executable, "-m", "archc", "build", str(checkpoint), "--quantize", quantize, "-o", str(plan)]
    begin, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    status, peaks = Path(f"/proc/{process.pid}/status"), {"VmHWM": 0, "RssAnon": 0}
    while process.poll() is None:
        text = status.read_text()
        for key, peak in peaks.items():
            # The peak of wait4 includes that of this process.
            if match := re.search(rf"{key}:\s+(\d+)", text):
                peaks[key] = max(peak, int(match[1]) // 1024)
        time.sleep(0.02)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
    return time.perf_counter() - begin, busy, peaks["VmHWM"], peaks["RssAnon"]


def write_checkpoint(folder: Path, name: str, layers: int) -> None:
    """Write config.json and one file for each layer, with an index."""
    packing, dtype, quantization = FORMATS[name]
    folder.mkdir()
    config = CONFIG | {"num_hidden_layers": layers} | ({"quantization_config": quantization} if quantization else {})
    (folder / "config.json").write_text(json.dumps(config))
    shards = list(make_shards(packing, dtype, layers))
    stem, suffix = ("pytorch_model", "bin") if name == "bin" else ("model", "safetensors")
    places = {}
    for number, tensors in enumerate(shards):
        file = f"{stem}-{number + 1:05}-of-{len(shards):05}.{suffix}"
        places |= dict.fromkeys(tensors, file)
        if suffix == "bin":
            with Holes(folder / file) as stream:
                torch.save(tensors, stream)
        else:
            write_safetensors(folder / file, tensors)
    (folder / f"{stem}.{suffix}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def make_shards(packing: str, dtype: torch.dtype, layers: int) -> Iterator[Tensors]:
    """Yield the tensors of each file; zeros need no memory until they are read."""
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        tensors: Tensors = {}
        for name, shape in SHAPES.items():
            tensors |= {f"{prefix}.{name}.{part}": value for part, value in pack(packing, dtype, *shape).items()}
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"{prefix}.{name}.weight"] = torch.zeros(HIDDEN, dtype=dtype)
        yield tensors
    yield {
        "model.embed_tokens.weight": torch.zeros(VOCAB, HIDDEN, dtype=dtype),
        "model.norm.weight": torch.zeros(HIDDEN, dtype=dtype),
        "lm_head.weight": torch.zeros(VOCAB, HIDDEN, dtype=dtype),
    }


def pack(packing: str, dtype: torch.dtype, rows: int, columns: int) -> Tensors:
    """Return the tensors of a matrix [rows, columns] of zeros."""
    if packing == "fp8":
        weight = torch.zeros(rows, columns, dtype=torch.uint8).view(torch.float8_e4m3fn)
        return {"weight": weight, "weight_scale_inv": torch.ones(rows // BLOCK, columns // BLOCK)}
    if packing == "gptq":
        groups = columns // BLOCK
        return {
            "qweight": torch.zeros(columns // 8, rows, dtype=torch.int32),
            "qzeros": torch.full((groups, rows // 8), 0x77777777, dtype=torch.int32),
            "scales": torch.full((groups, rows), 0.01, dtype=dtype),
            "g_idx": torch.arange(columns, dtype=torch.int32) // BLOCK,
        }
    return {"weight": torch.zeros(rows, columns, dtype=dtype)}


class Holes:
    """A file in which blocks of zeros are holes."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")

    def __enter__(self) -> Holes:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.truncate()
        self._file.close()

    def write(self, data: bytes | memoryview) -> int:
        if len(data) > 4096 and not np.frombuffer(data, np.uint8).any():
            self._file.seek(len(data), os.SEEK_CUR)
        else:
            self._file.write(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


def write_safetensors(path: Path, tensors: Tensors) -> None:
    """Write a safetensors file tensor by tensor."""
    header, end = {}, 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with Holes(path) as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            stream.write(tensor.reshape(-1).view(torch.uint8).numpy().data)


if __name__ == "__main__":
    main()
