"""Opens the folders of `--target onnx-hf` in other runtimes, and compares their greedy tokens with those of archc.

    python benchmarks/runtimes.py --optimum PYTHON --genai PYTHON --openvino PYTHON [--families qwen2 gpt2 …]

Run it in archc's environment with the tests' packages, from the root of the repository. Each PYTHON has one runtime:
optimum-onnx[onnxruntime], onnxruntime-genai, openvino. Models are the tiny random ones of the tests; the first line of
a table has the versions. Encoders are compared by their outputs, within 1e-3.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

FAMILIES = (
    "qwen2",
    "gpt2",
    "falcon",
    "mixtral",
    "deepseek-v2",
    "gemma3",
    "llama",
    "bert",
    "t5",
    "bart",
    "marian",
    "rwkv6",
    "mamba",
)
NEW = 8

OPTIMUM = """
import sys, json, torch, optimum.onnxruntime as o, importlib.metadata as m
folder, ids, new, kind = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
x = torch.tensor([ids])
if kind == "encoder-decoder":
    model = o.ORTModelForSeq2SeqLM.from_pretrained(folder)
    model.generation_config.eos_token_id = model.generation_config.forced_eos_token_id = None
    out = model.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=new, do_sample=False, num_beams=1)
    out = out[0, -new:].tolist()
elif kind == "encoder":
    model = o.ORTModelForMaskedLM.from_pretrained(folder)
    logits = model(input_ids=x, attention_mask=torch.ones_like(x), token_type_ids=torch.zeros_like(x)).logits
    out = logits[0, -1, :8].tolist()
else:
    model = o.ORTModelForCausalLM.from_pretrained(folder, use_io_binding=False)
    model.generation_config.eos_token_id = None
    out = model.generate(x, attention_mask=torch.ones_like(x), max_new_tokens=new, do_sample=False, pad_token_id=0)
    out = out[0, x.shape[1]:].tolist()
print(json.dumps([m.version("optimum-onnx"), out]))
"""
GENAI = """
import sys, json, onnxruntime_genai as og, importlib.metadata as m
folder, ids, new = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
model = og.Model(folder)
p = og.GeneratorParams(model)
p.set_search_options(max_length=len(ids) + new, min_length=len(ids) + new, do_sample=False)
g = og.Generator(model, p)
g.append_tokens(ids)
while not g.is_done():
    g.generate_next_token()
print(json.dumps([m.version("onnxruntime-genai"), [int(t) for t in g.get_sequence(0)][len(ids):]]))
"""
OPENVINO = """
import sys, json, numpy as np, openvino as ov
folder, ids, new, kind = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
core = ov.Core()
model = core.compile_model(core.read_model(folder + "/model.onnx"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
names = {n: i for i in model.inputs for n in i.get_names()}
def shape(i): return [1, *[0 if d.is_dynamic else d.get_length() for d in list(i.partial_shape)[1:]]]
past = {n: np.zeros(shape(i), np.float32) for n, i in names.items() if n.startswith("past")}
x, mask, out = np.array([ids]), np.ones((1, len(ids)), np.int64), []
for _ in range(1 if kind == "encoder" else new):
    n = x.shape[1]
    feeds = {"input_ids": x, "attention_mask": mask, "position_ids": np.arange(mask.shape[1] - n, mask.shape[1])[None]}
    feeds["token_type_ids"] = np.zeros_like(x)
    result = model({**{k: v for k, v in feeds.items() if k in names}, **past})
    found = {k: result[o] for o in model.outputs for k in o.get_names()}
    if kind == "encoder":
        out = found["logits"][0, -1, :8].tolist()
        break
    out.append(int(found["logits"][0, -1].argmax()))
    past = {k: found[k.replace("past_key_values", "present")] for k in past}
    x, mask = np.array([[out[-1]]]), np.ones((1, mask.shape[1] + 1), np.int64)
print(json.dumps([ov.__version__.split("-")[0], out]))
"""
RUNTIMES = {"optimum": OPTIMUM, "genai": GENAI, "openvino": OPENVINO}


def agrees(found: list[float], expected: list[float]) -> bool:
    """Return whether tokens are equal, or outputs of an encoder within 1e-3."""
    if any(isinstance(number, float) for number in expected):
        return all(abs(a - b) < 1e-3 for a, b in zip(found, expected, strict=True))
    return found == expected


def call(python: str, code: str, folder: Path, ids: list[int], kind: str) -> tuple[str, list[float]]:
    """Return a runtime's version and result; the reason instead of a version where it fails."""
    words = [python, "-c", code, str(folder), json.dumps(ids), str(NEW), kind]
    run = subprocess.run(words, capture_output=True, text=True, timeout=300)
    if run.returncode:
        lines = [line for line in run.stderr.splitlines() if line.strip()]
        return f"fails: {lines[-1][:160] if lines else run.returncode}", []
    version, out = json.loads(run.stdout.strip().splitlines()[-1])
    return version, out


def main() -> None:
    """Print a Markdown table: families by runtimes."""
    from archc.compiler.errors import BuildError
    from archc.proof.built import Built
    from tests.families.collection import cases_of
    from tests.reference import bart, marian, t5

    # optimum-onnx expects the heads of the encoder in the decoder, and heads that divide the width.
    same_heads = {
        "t5": t5.Answer("heads", partial(t5.t5, 1, d_kv=9)),
        "bart": bart.Answer("heads", partial(bart.bart, 1, encoder_attention_heads=6), lead=(5,)),
        "marian": marian.Answer("heads", partial(marian.marian, 1, encoder_attention_heads=6)),
    }
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in RUNTIMES:
        parser.add_argument(f"--{name}")
    parser.add_argument("--families", nargs="*", default=FAMILIES)
    options = parser.parse_args()
    pythons = {name: python for name in RUNTIMES if (python := getattr(options, name))}
    print("| family | " + " | ".join(pythons) + " |\n|---|" + "---|" * len(pythons))
    for family in options.families:
        with tempfile.TemporaryDirectory() as place:
            case = same_heads[family] if family in same_heads else cases_of(family)[0]
            built = Built(family, case, Path(place))
            ids, kind = built.ids(1, built.case.length)[0], built.case.topology
            try:
                folder = built.build_from(built.graphs, "hf", "onnx-hf", "float32")
            except BuildError as error:
                print(f"| {family} | {' | '.join(['refused'] * len(pythons))} | {error}")
                continue
            if kind == "encoder":
                expected = built.engine.logits([ids])[0, -1, :8].tolist()
            else:
                expected = built.engine.generate([ids], max_new_tokens=NEW, ignore_eos=True)[0]
            cells = []
            for name, python in pythons.items():
                version, out = call(python, RUNTIMES[name], folder, ids, kind)
                cells.append(version if not out else f"{version}: {'equal' if agrees(out, expected) else f'{out}'}")
            print(f"| {family} | {' | '.join(cells)} |", flush=True)
            built.close()


if __name__ == "__main__":
    main()
