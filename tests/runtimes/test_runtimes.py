"""A folder of `--target onnx-hf` gives the same tokens in the runtimes of other projects as its plan in archc's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from archc.proof.built import Built, use_one_thread
from tests.runtimes.clients import CLIENTS, agrees, case_of, expected_of, request_of

pytestmark = pytest.mark.filterwarnings("ignore:.*no tokenizer file found")

# The families that each opens; docs/runtimes.md has the reasons for the others.
DECODERS = ("qwen2", "gpt2", "gemma3")
OPENED = {
    "openvino": (
        *DECODERS,
        "mixtral",
        "deepseek-v2",
        "deepseek-v4",
        "chatglm",
        "nemotron-h",
        "mamba",
        "rwkv6",
        "bert",
        "t5",
    ),
    "genai": (*DECODERS, "mixtral", "gemma4", "lfm2", "mamba", "nemotron-h", "qwen3-next"),
    "optimum": (*DECODERS, "bert", "t5"),
    "transformers.js": (*DECODERS, "bert", "t5"),
    "onnxruntime-web": (*DECODERS, "mixtral", "deepseek-v4", "mamba", "bert", "t5"),
    "chromium": ("qwen2", "bert", "t5"),
}
HERE = ("openvino", "genai")  # packages of the tests' environment
PAIRS = sorted((family, runtime) for runtime, families in OPENED.items() for family in families)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Built]]:
    """Return a function to the family's tiny model, which all its tests share."""
    use_one_thread()
    made: dict[str, Built] = {}

    def model(family: str) -> Built:
        if family not in made:
            made[family] = Built(family, case_of(family), tmp_path_factory.mktemp(family))
        return made[family]

    yield model
    for built in made.values():
        built.close()


def check(built: Built, runtime: str) -> None:
    folder = built.build_from(built.graphs, "hf", "onnx-hf", "float32")
    _, found = CLIENTS[runtime].open(folder, request_of(built))
    assert agrees(found, expected_of(built)), f"{found} instead of {expected_of(built)}"


@pytest.mark.parametrize(("family", "runtime"), [pair for pair in PAIRS if pair[1] in HERE])
def test_a_folder_in_another_runtime(models: Callable[[str], Built], family: str, runtime: str) -> None:
    check(models(family), runtime)


@pytest.mark.runtimes
@pytest.mark.parametrize(("family", "runtime"), [pair for pair in PAIRS if pair[1] not in HERE])
def test_a_folder_in_a_runtime_of_another_environment(
    models: Callable[[str], Built], family: str, runtime: str
) -> None:
    check(models(family), runtime)
