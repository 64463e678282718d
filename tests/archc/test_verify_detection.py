"""`archc verify` of a checkpoint whose family only tokenizer_config.json identifies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import LlamaForCausalLM

from archc.verify import choose
from tests.archc.conftest import Archc
from tests.reference.chatglm2 import ChatGlm2


@pytest.mark.parametrize(
    ("options", "is_changed"), [([], False), (["--set", "final_norm.eps=0.5"], True)], ids=["as it is", "changed"]
)
def test_a_change_is_noticed_where_the_tokenizer_config_decides(
    archc: Archc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], is_changed: bool
) -> None:
    checkpoint, plan = tmp_path / "checkpoint", tmp_path / "engine.plan"
    ChatGlm2(1).save(checkpoint)
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({"name_or_path": "THUDM/chatglm2-6b"}))
    assert archc("build", checkpoint, *options, "-o", plan).code == 0
    # transformers has no class of this family; with any other one, only the spec decides.
    monkeypatch.setattr(choose, "find_class", lambda config: LlamaForCausalLM)
    report = archc("verify", plan, "--weights", checkpoint, "--ids", "1,2,3", "--new-tokens", 2, "--json").json
    notes = [note for note in report["notes"] if "the plan differs from the checkpoint's config" in note]
    assert bool(notes) is is_changed
