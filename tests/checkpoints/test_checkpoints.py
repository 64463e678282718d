"""Each part of each official checkpoint, as a small folder of the published form: one build of each, without a spec."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from archc.archspec.errors import ConfigError
from archc.compiler.build import build
from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.containers import open_weights
from archc.compiler.weights.packings.detect import unpack
from archc.proof.built import use_one_thread
from archc.proof.case import Reference
from archc.proof.checks import TOLERANCE
from archc.runtime import PromptError
from archc.runtime.engine import Engine, load
from archc.runtime.text.tokenizer import Tokenizer
from tests.checkpoints.catalog import CHECKPOINTS, REFUSED
from tests.checkpoints.checkpoint import MESSAGES, Checkpoint, Refused
from tests.checkpoints.texts import Text

PROMPT = "the quick brown fox"
STRINGS = (
    "",
    " ",
    "  two  spaces ",
    "hello fox 12345",
    "a\nb\n\n c\t\td\r\n",
    "你好 世界, 今天。",
    "e\u0301 \u00e9 na\u00efve",
    "😀👨\u200d👩\u200d👧",
    "don't WE'LL I'd",
    "\u00a0x\u3000y",
    "<s> </s> <unk> <pad>",
    "<|user|>[MASK]<|im_end|>",
    "3.14 1,000",
)


class Built:
    """A checkpoint's folder and its plan; both are made on first use."""

    def __init__(self, checkpoint: Checkpoint, folder: Path) -> None:
        self.checkpoint, self.folder = checkpoint, folder
        self.warnings: list[str] = []

    @cached_property
    def written(self) -> tuple[Reference, Text]:
        """The folder's independent implementation and genuine tokenizer."""
        return self.checkpoint.write(self.folder / "checkpoint")

    @cached_property
    def engine(self) -> Engine:
        """The plan of the folder alone; archc selects the spec."""
        assert self.written
        elsewhere = next((self.folder / "tokenizer").iterdir(), None)
        folder, spec = self.folder / "checkpoint", self.checkpoint.spec if self.checkpoint.is_spec_named else None
        plan = build(
            spec or folder, folder, out=self.folder / "engine.plan", tokenizer=elsewhere, warn=self.warnings.append
        )
        return load(plan, threads=1)

    @property
    def reference(self) -> Reference:
        """The independent implementation of the model."""
        return self.written[0]

    @property
    def text(self) -> Text:
        """The tokenizer as its own library reads it."""
        return self.written[1]

    @property
    def tokenizer(self) -> Tokenizer:
        """The plan's tokenizer."""
        assert self.engine.tokenizer is not None
        return self.engine.tokenizer

    @property
    def prompt(self) -> list[int]:
        """The ids of a prompt."""
        return self.tokenizer.encode(PROMPT)

    def special(self, names: tuple[str, ...]) -> list[int]:
        """Return the ids of special tokens."""
        return [self.text.special[name] for name in names]


@pytest.fixture(scope="session")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    use_one_thread()
    made = Built(request.param, tmp_path_factory.mktemp("checkpoint"))
    yield made
    if "engine" in made.__dict__:
        made.engine.close()


def rows(condition: Callable[[Checkpoint], object] = lambda _: True) -> pytest.MarkDecorator:
    """Return a parametrization by the checkpoints that fulfill a condition."""
    params = [pytest.param(row, id=row.name.replace(" ", "-")) for row in CHECKPOINTS if condition(row)]
    return pytest.mark.parametrize("built", params, indirect=True, scope="session")


@rows()
def test_detection(built: Built) -> None:
    assert built.engine.manifest.family == built.checkpoint.spec
    expected = [built.checkpoint.stored.packing] if built.checkpoint.stored.packing else []
    assert len(built.warnings) == len(expected)
    assert all(name in warning for name, warning in zip(expected, built.warnings, strict=True))


@rows(lambda row: row.is_spec_named)
def test_a_folder_that_does_not_tell_its_family(built: Built) -> None:
    assert built.written
    with pytest.raises(ConfigError, match="missing key 'model_type'; pass the name of a spec"):
        build(built.folder / "checkpoint", out=built.folder / "refused.plan")


@rows()
def test_weights(built: Built) -> None:
    ids = [built.prompt]
    if built.checkpoint.topology == "encoder":
        engine = {"hidden_states": built.engine.encode(ids), "logits": built.engine.logits(ids)}
        expected = built.reference.outputs(ids)
    elif built.checkpoint.topology == "encoder-decoder":
        start = [[*built.engine.manifest.tokens.start, 5, 9, 7]]
        engine = {"logits": built.engine.logits(ids, decoder_ids=start)}
        expected = built.reference.outputs(start, source=ids)
    else:
        engine, expected = {"logits": built.engine.logits(ids)}, built.reference.outputs(ids)
    for role, values in engine.items():
        assert np.ptp(expected[role]) > 0.1
        assert np.abs(values - expected[role]).max() < TOLERANCE


@rows(lambda row: row.stored.pack)
def test_packing(built: Built) -> None:
    assert built.engine
    weights = unpack(open_weights(built.folder / "checkpoint"), built.folder / "checkpoint")
    widened = load_file(built.folder / "saved" / "model.safetensors")
    pack = built.checkpoint.stored.pack
    assert pack is not None
    packed = [name for name, value in widened.items() if pack(name, value) is not None]
    assert packed
    for name in packed:
        assert torch.equal(weights.read(name), widened[name]), name


@rows()
def test_tokenizer(built: Built) -> None:
    texts = [text for text in STRINGS if not any(token in text for token in built.text.parsed)]
    assert len(texts) > 11
    ids = {text: built.tokenizer.encode(text, add_special_tokens=False) for text in texts}
    assert ids == {text: built.text.encode(text) for text in texts}


@rows()
def test_prefix(built: Built) -> None:
    begin, end = built.special(built.checkpoint.begin), built.special(built.checkpoint.end)
    assert built.prompt == [*begin, *built.text.encode(PROMPT), *end]


@rows()
def test_chat(built: Built) -> None:
    expected = built.checkpoint.chat
    if expected is None:
        with pytest.raises(PromptError, match="the plan has no chat template"):
            built.tokenizer.chat(MESSAGES)
    elif callable(expected):
        assert built.tokenizer.chat_ids(MESSAGES) == expected(built.text)
    else:
        assert built.tokenizer.chat(MESSAGES) == expected
        ids = built.tokenizer.encode(expected, add_special_tokens=False, parse_special=True)
        assert built.tokenizer.chat_ids(MESSAGES) == ids


@rows(lambda row: row.topology != "encoder")
def test_text(built: Built) -> None:
    pieces = list(built.engine.stream(PROMPT, max_new_tokens=12, ignore_eos=True))
    assert "".join(pieces).strip()


@pytest.mark.parametrize("row", REFUSED, ids=[row.name for row in REFUSED])
def test_a_format_of_another_framework_is_refused(row: Refused, tmp_path: Path) -> None:
    row.write(tmp_path / "checkpoint")
    with pytest.raises(BuildError, match=row.message):
        build(tmp_path / "checkpoint", out=tmp_path / "engine.plan")


def test_a_tokenizer_of_another_revision_is_refused(tmp_path: Path) -> None:
    """ChatGLM-6B's first revision has tokens of images in front of its text, which its tokenizer file lacks."""
    row = next(row for row in CHECKPOINTS if row.name == "ChatGLM-6B")
    ids = {"mask_token_id": 900, "gmask_token_id": 901, "bos_token_id": 904, "eos_token_id": 905}
    replace(row, roles={}, vocab_size=1000, changes=ids).write(tmp_path / "checkpoint")
    message = "has '<sop>' as [0-9]+, and config.json as 904.*use the newest revision of the checkpoint"
    with pytest.raises(BuildError, match=message):
        build(tmp_path / "checkpoint", out=tmp_path / "engine.plan")


def test_names_are_unique() -> None:
    names = [row.name for row in (*CHECKPOINTS, *REFUSED)]
    assert len(set(names)) == len(names)
