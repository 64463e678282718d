"""Opens the folders of `--target onnx-hf` in other runtimes, and compares their answers with those of archc.

    make test-runtimes
    python benchmarks/runtimes.py [--families qwen2 lfm2:biases-untied …] [--runtimes openvino …]

Run it in archc's environment with the tests' packages, from the root of the repository; `make test-runtimes` installs
the runtimes that have environments of their own. Models are the tiny random ones of the tests, the first case of a
family or the one after the colon; cells have the versions. Encoders are compared by their outputs, within 1e-3.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
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


def main() -> None:
    """Print a Markdown table: families by runtimes."""
    from archc.compiler.errors import BuildError
    from archc.proof.built import Built
    from tests.runtimes.clients import CLIENTS, agrees, case_of, expected_of, request_of

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", nargs="*", default=FAMILIES)
    parser.add_argument("--runtimes", nargs="*", default=tuple(CLIENTS), choices=tuple(CLIENTS))
    options = parser.parse_args()

    def cell(name: str, built: Built, folder: Path) -> str:
        try:
            version, found = CLIENTS[name].open(folder, request_of(built))
        except RuntimeError as error:
            return f"fails: {error}"
        return f"{version}: {'equal' if agrees(found, expected_of(built)) else found}"

    print("| family | " + " | ".join(options.runtimes) + " |\n|---|" + "---|" * len(options.runtimes))
    for family, _, case_name in (item.partition(":") for item in options.families):
        with tempfile.TemporaryDirectory() as home:
            built = Built(family, case_of(family, case_name), Path(home))
            try:
                folder = built.build_from(built.graphs, "hf", "onnx-hf", "float32")
            except BuildError as error:
                cells = [f"refused: {error}"] * len(options.runtimes)
            else:
                cells = [cell(name, built, folder) for name in options.runtimes]
            print(f"| {family} | {' | '.join(cells)} |", flush=True)
            built.close()


if __name__ == "__main__":
    main()
