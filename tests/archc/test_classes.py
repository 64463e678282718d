"""Classes, spans and reranking from texts and pairs, against transformers and sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from sentence_transformers import CrossEncoder
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from archc.compiler.build import build
from archc.plan import Plan
from archc.runtime.engine import Engine, load
from archc.runtime.errors import PromptError
from archc.runtime.state.scores import best_span, class_scores
from tests.archc.conftest import Archc
from tests.archc.serve.conftest import running

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{index}" for index in range(30))]
PAIRS = [("w1 w2", "w5 w6 w7 w8"), ("w1 w2", "w9"), ("w1 w2", "w2 w1 w3 w29 w4")]


def write_model(folder: Path, class_name: str, **options: Any) -> Path:
    torch.manual_seed(5)
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.BertConfig(
        vocab_size=len(WORDS), max_position_embeddings=24, pad_token_id=0, **sizes, **options
    )
    model = getattr(transformers, class_name)(config)
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        spread = 1.0 if "embeddings" in name else 0.2  # the tokens, and not the norms, decide the scores
        parameter.data.normal_(float(name.endswith("LayerNorm.weight")), spread)
    model.save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)  # fmt: skip
    return folder


def expected(folder: Path, class_name: str, *texts: str) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        return getattr(transformers, class_name).from_pretrained(folder)(**tokenizer(*texts, return_tensors="pt"))


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = write_model(tmp_path_factory.mktemp("reranker"), "BertForSequenceClassification", num_labels=1)
    return folder, build(folder, out=folder / "reranker.plan")


def test_pairs_have_the_scores_of_a_cross_encoder(reranker: tuple[Path, Path]) -> None:
    folder, plan = reranker
    engine = load(plan)
    classes = engine.manifest.classes
    assert classes is not None
    assert (classes.per, classes.activation) == ("sequence", "sigmoid")
    scores = class_scores(engine.classify(PAIRS), classes.activation)[:, 0]
    reference = CrossEncoder(str(folder), device="cpu").predict(PAIRS)
    assert np.ptp(reference) > 0.01
    assert scores == pytest.approx(reference, abs=1e-5)


def test_documents_are_ranked_over_http(reranker: tuple[Path, Path]) -> None:
    folder, plan = reranker
    reference = CrossEncoder(str(folder), device="cpu").predict(PAIRS)
    body = {"model": "reranker", "query": "w1 w2", "documents": [second for _, second in PAIRS]}
    with running([str(plan)]) as server:
        results = server.post("/v1/rerank", body).json()["results"]
    assert [item["index"] for item in results] == np.argsort(-reference).tolist()
    assert [item["relevance_score"] for item in results] == pytest.approx(sorted(reference)[::-1], abs=1e-5)


def test_run_prints_labels_by_score(archc: Archc, tmp_path: Path) -> None:
    names = {0: "good", 1: "bad", 2: "neither"}
    folder = write_model(tmp_path / "m", "BertForSequenceClassification", id2label=names)
    plan = build(folder, out=tmp_path / "m.plan")
    logits = expected(folder, "BertForSequenceClassification", "w1 w2 w3").logits[0]
    scores = archc("run", plan, "w1 w2 w3", "--json").json["scores"]
    assert scores == pytest.approx(dict(zip(names.values(), logits.softmax(0).tolist(), strict=True)), abs=1e-5)
    lines = archc("run", plan, "w1 w2 w3").out.splitlines()
    assert [line.split()[1] for line in lines] == [names[int(index)] for index in logits.argsort(descending=True)]


def test_run_prints_the_span_in_the_second_text(archc: Archc, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", "BertForQuestionAnswering")
    plan = build(folder, out=tmp_path / "m.plan")
    context = "w5 w6 w7 w8 w9"
    result = expected(folder, "BertForQuestionAnswering", "w1 w2", context)
    # [CLS] w1 w2 [SEP], then the five words.
    begin, end = (values[0, 4:9].softmax(0) for values in (result.start_logits, result.end_logits))
    joint = torch.outer(begin, end).triu()
    first, last = divmod(int(joint.argmax()), 5)
    found = archc("run", plan, "w1 w2", "--pair", context, "--json").json["scores"]
    assert found["text"] == " ".join(context.split()[first : last + 1])
    assert (found["first"], found["last"]) == (4 + first, 4 + last)
    assert found["score"] == pytest.approx(float(joint.max()), abs=1e-5)


def test_run_prints_a_label_of_each_token(archc: Archc, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", "BertForTokenClassification", num_labels=3)
    logits = expected(folder, "BertForTokenClassification", "w1 w2").logits[0]
    lines = archc("run", build(folder, out=tmp_path / "m.plan"), "w1 w2").out.splitlines()
    assert [line.split()[1] for line in lines] == [f"LABEL_{int(index)}" for index in logits.argmax(-1)]
    assert [line.split()[2] for line in lines] == ["2", "w1", "w2", "3"]


ACTIVATIONS: dict[str, tuple[dict[str, Any], str]] = {
    "several labels": ({"problem_type": "multi_label_classification"}, "sigmoid"),
    "regression": ({"problem_type": "regression"}, "none"),
    "cross-encoder": ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "none"),
    "older cross-encoder": ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}, "sigmoid"),
}


@pytest.mark.parametrize(("options", "activation"), ACTIVATIONS.values(), ids=ACTIVATIONS)
def test_the_config_states_the_function_of_scores(tmp_path: Path, options: dict[str, Any], activation: str) -> None:
    folder = write_model(tmp_path / "m", "BertForSequenceClassification", num_labels=2, **options)
    with Plan(build(folder, out=tmp_path / "m.plan")) as plan:
        assert plan.manifest.classes is not None
        assert plan.manifest.classes.activation == activation


WRONG: dict[str, tuple[Callable[[Engine], object], str]] = {
    "ids and texts": (lambda e: e.classify(["w1", [1, 2]]), "text 1: expected a text or a pair of two texts"),  # type: ignore[list-item]
    "three texts": (lambda e: e.classify([("w1", "w2", "w3")]), "text 0: expected a text or a pair of two texts"),  # type: ignore[list-item]
    "types of texts": (lambda e: e.classify("w1", [[0]]), "token_type_ids: those of texts come from the tokenizer"),
    "no vectors": (lambda e: e.embed("w1"), "the plan has no output of role pooled; it has classes, hidden_states"),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_inputs_that_are_refused(reranker: tuple[Path, Path], call: Callable[[Engine], object], message: str) -> None:
    with pytest.raises(PromptError, match=message):
        call(load(reranker[1]))


def test_a_span_ends_after_its_begin_and_has_allowed_tokens() -> None:
    logits = np.log(np.array([[0.6, 0.6], [0.1, 0.2], [0.3, 0.2]], np.float32))
    # Of tokens 1 and 2: begin (1/4, 3/4), end (1/2, 1/2).
    assert best_span(logits, [False, True, True]) == (2, 2, pytest.approx(3 / 8))
    assert best_span(logits, [False, False, False]) is None
