"""`archc eval`: perplexity against transformers, tasks against the harness's own model for transformers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tests.archc.conftest import TINY, Archc

TEXT = "Once upon a time there was a little dog. The dog had a red ball and a friend.\n12+30=42\n" * 3

CHOICES = """
task: tiny_choices
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
metric_list: [{{metric: acc}}, {{metric: acc_norm}}]
"""
SUMS = """
task: tiny_sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{choices[answer]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 6, do_sample: false}}
metric_list: [{{metric: exact_match}}]
"""
STORIES = """
task: tiny_stories
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list: [{{metric: bits_per_byte}}, {{metric: byte_perplexity}}]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def reference_nll(window: int, stride: int) -> tuple[float, int]:
    """Return the sum and number of the negative log-likelihoods of transformers, as its documentation computes them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(TINY, dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(TINY)(TEXT, return_tensors="pt").input_ids
    total, count, done = 0.0, 0, 0
    for begin in range(0, ids.shape[1], stride):
        end = min(begin + window, ids.shape[1])
        part = ids[:, begin:end]
        labels = part.clone()
        labels[:, : -(end - done)] = -100
        with torch.no_grad():
            loss = float(model(part, labels=labels).loss)
        scored = int((labels[:, 1:] != -100).sum())
        total, count, done = total + loss * scored, count + scored, end
        if end == ids.shape[1]:
            break
    return total, count


@pytest.mark.parametrize(("window", "stride"), [(32, 16), (200, 64), (32, 31)])
def test_perplexity_is_that_of_transformers(archc: Archc, qwen: Path, file: Path, window: int, stride: int) -> None:
    result = archc("eval", qwen, "--perplexity", file, "--window", window, "--stride", stride, "--json").json
    total, count = reference_nll(window, stride)
    assert result["tokens"] == count
    assert result["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-4)
    # The first token has no context: neither it nor its bytes count.
    assert result["bytes"] == len(TEXT) - len("Once")
    assert result["bits_per_byte"] == pytest.approx(total / math.log(2) / result["bytes"], rel=1e-4)


def test_wrong_arguments(archc: Archc, qwen: Path, bert: Path, small: Path, file: Path, tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"a\xff")
    for arguments, message in (
        ((qwen,), "either --perplexity FILE or --tasks"),
        ((qwen, "--perplexity", file, "--limit", 3), "--limit has no effect without --tasks"),
        ((qwen, "--tasks", "a", "--stride", 3), "--stride has no effect without --perplexity"),
        ((qwen, "--perplexity", file, "--window", 8, "--stride", 8), "smaller stride"),
        ((qwen, "--perplexity", binary), "not valid UTF-8 at byte 1"),
        ((bert, "--perplexity", file), "defined for decoders"),
        ((small, "--perplexity", file), "no tokenizer"),
    ):
        result = archc("eval", *arguments)
        assert result.code == 2
        assert message in result.errors[0]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with tasks over local files."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    documents = [
        {"question": f"{a}+{b}=", "choices": [str(a + b), str(a + b + 1), str(a), "a dog"], "answer": 0}
        for a, b in ((37, 85), (12, 30), (5, 9), (40, 41), (11, 22))
    ]
    stories = [{"text": TEXT[: 40 + 30 * index]} for index in range(3)]
    (tmp_path / "sums.json").write_text("\n".join(map(json.dumps, documents)))
    (tmp_path / "stories.json").write_text("\n".join(map(json.dumps, stories)))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    for name, text, data in (("choices", CHOICES, "sums"), ("sums", SUMS, "sums"), ("stories", STORIES, "stories")):
        (tasks / f"{name}.yaml").write_text(text.format(data=tmp_path / f"{data}.json"))
    return tasks


def test_tasks_are_those_of_transformers(archc: Archc, qwen: Path, folder: Path) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    names = ["tiny_choices", "tiny_sums", "tiny_stories"]
    arguments = ("eval", qwen, "--tasks", ",".join(names), "--include", folder, "--batch", 3)
    found = archc(*arguments, "--json").json
    expected: Any = simple_evaluate(
        HFLM(pretrained=str(TINY), device="cpu", dtype="float32", batch_size=1),
        tasks=list(names),
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        bootstrap_iters=0,
        log_samples=False,
    )["results"]
    for name in names:
        metrics = [key for key, value in expected[name].items() if "," in key and "stderr" not in key]
        assert metrics
        for metric in metrics:
            assert found[name][metric] == pytest.approx(expected[name][metric], rel=1e-4)
    assert found["tiny_sums"]["exact_match,none"] > 0.5


def test_log_likelihoods_are_those_of_transformers(qwen: Path) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    import archc as api
    from archc.evaluation.harness import PlanModel

    pairs = [("Once upon", " a time"), ("", "The dog"), ("12+30=", "42"), ("A friend ", "had a ball. " * 30)]
    requests = [Instance("loglikelihood", {}, pair, 0) for pair in pairs]
    found = PlanModel(api.load(qwen), batch=2).loglikelihood(requests)
    expected = HFLM(pretrained=str(TINY), device="cpu", dtype="float32", batch_size=1).loglikelihood(requests)
    for (value, is_greedy), (other, other_greedy) in zip(found, expected, strict=True):
        assert value == pytest.approx(other, rel=1e-4, abs=1e-4)
        assert is_greedy == other_greedy


def test_a_folder_of_tasks_that_does_not_exist(archc: Archc, qwen: Path, folder: Path) -> None:
    result = archc("eval", qwen, "--tasks", "tiny_sums", "--include", folder / "missing")
    assert result.code == 2
    assert "is not a folder" in result.errors[0]
