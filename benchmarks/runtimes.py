"""Opens the folders of `--target onnx-hf` in other runtimes, and compares their greedy tokens with those of archc.

    python benchmarks/runtimes.py --optimum PYTHON --genai PYTHON --openvino PYTHON
        --transformers-js DIR --web DIR --chromium DIR [--families qwen2 lfm2:biases-untied …]

Run it in archc's environment with the tests' packages, from the root of the repository. Each PYTHON has one runtime:
optimum-onnx[onnxruntime], onnxruntime-genai, openvino. Each DIR has node_modules with @huggingface/transformers and
onnxruntime-web; chromium is the program of that name. Models are the tiny random ones of the tests, the first case of a
family or the one after the colon; cells have the versions. Encoders are compared by their outputs, within 1e-3.
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
    "lfm2:biases-untied",
    "qwen3-5",
    "nemotron-h",
    "qwen3-next",
    "gpt-oss",
    "gemma4",
    "deepseek-v4",
    "glm5-next-text",
    "chatglm",
)
NEW = 8

CLIENTS = Path(__file__).parent / "folders"
#: The programs of the runtimes, and what runs them: a Python environment, or Node in a folder with node_modules.
RUNTIMES = {
    "optimum": "optimum_onnx.py",
    "genai": "genai.py",
    "openvino": "openvino_cpu.py",
    "transformers-js": "transformers_js.mjs",
    "web": "onnxruntime_web.mjs",
    "chromium": "browser.py",
}
NODE = ("transformers_js.mjs", "onnxruntime_web.mjs", "browser.py")


def agrees(found: list[float], expected: list[float]) -> bool:
    """Return whether tokens are equal, or outputs of an encoder within 1e-3."""
    if any(isinstance(number, float) for number in expected):
        return all(abs(a - b) < 1e-3 for a, b in zip(found, expected, strict=True))
    return found == expected


def call(runtime: str, place: str, folder: Path, request: list[str]) -> tuple[str, list[float]]:
    """Return a runtime's version and result; the reason instead of a version where it fails."""
    program = str(CLIENTS / RUNTIMES[runtime])
    words, work = [place, program], None
    if program.endswith(".mjs"):
        words, work = ["node", program], place
    elif runtime == "chromium":
        words = [sys.executable, program, str(Path(place) / "node_modules")]
    run = subprocess.run([*words, str(folder), *request], capture_output=True, text=True, timeout=300, cwd=work)
    if run.returncode:
        lines = [line.strip() for line in run.stderr.splitlines() if line.strip() and not line.startswith("Node.js")]
        errors = [line for line in lines if "Error: " in line] or lines[-1:]
        return f"fails: {errors[0][:160] if errors else run.returncode}", []
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
    for name, program in RUNTIMES.items():
        parser.add_argument(f"--{name}", metavar="DIR" if program in NODE else "PYTHON")
    parser.add_argument("--families", nargs="*", default=FAMILIES)
    options = parser.parse_args()
    places = {name: place for name in RUNTIMES if (place := getattr(options, name.replace("-", "_")))}
    print("| family | " + " | ".join(places) + " |\n|---|" + "---|" * len(places))
    for family, _, case_name in (item.partition(":") for item in options.families):
        with tempfile.TemporaryDirectory() as home:
            cases = [same_heads[family]] if family in same_heads else cases_of(family)
            case = next(item for item in cases if not case_name or item.name == case_name)
            built = Built(family, case, Path(home))
            ids, kind = built.ids(1, built.case.length)[0], built.case.topology
            try:
                folder = built.build_from(built.graphs, "hf", "onnx-hf", "float32")
            except BuildError as error:
                print(f"| {family} | {' | '.join(['refused'] * len(places))} | {error}")
                continue
            engine = built.engine
            if kind == "encoder":
                expected = [*engine.logits([ids])[0, -1, :8].tolist(), *engine.encode([ids])[0, -1, :8].tolist()]
            else:
                expected = engine.generate([ids], max_new_tokens=NEW, ignore_eos=True)[0]
            start = list(engine.manifest.tokens.start)
            request = [json.dumps(ids), str(NEW), kind, json.dumps(start)]
            cells = []
            for name, place in places.items():
                version, out = call(name, place, folder, request)
                cells.append(version if not out else f"{version}: {'equal' if agrees(out, expected) else f'{out}'}")
            print(f"| {family} | {' | '.join(cells)} |", flush=True)
            built.close()


if __name__ == "__main__":
    main()
