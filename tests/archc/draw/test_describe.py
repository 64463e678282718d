"""The blocks of a bound spec: kinds of layers, variants, and the texts of each block."""

from __future__ import annotations

import pytest

from archc.draw.changes import Difference
from archc.draw.comparison import changed_texts, differences
from archc.draw.describe.blocks import Block, Formula, Grid, Heads, Pair, Step
from archc.draw.describe.merging import merge_texts
from archc.layer_ranges import shortened_ranges
from tests.archc.draw.models import bound, model


def blocks(name: str, size: str | None = None, kind: int = 0, overrides: tuple[str, ...] = ()) -> dict[str, Block]:
    stack = model(name, size, overrides).stacks[-1]
    return {block.name: block for block in (*stack.outside, *stack.kinds[kind].blocks)}


def test_a_dense_layer() -> None:
    found = blocks("qwen2", "0.5b")
    attention = found["attention"]
    assert attention.note == "14 Q, 2 KV heads × 64"
    assert attention.rows == (Step("q → 896 · k, v → 128"), Heads(14, 2), Step("out 896 → 896"))
    assert attention.tags == ("RoPE θ 1,000,000", "bias on q, k, v")
    product = Formula("SiLU(gate) ⊙ up")
    assert found["mlp"].rows == (Pair("gate → 4,864", "up → 4,864"), product, Step("down 4,864 → 896"))
    assert found["mlp"].note == "SwiGLU"
    assert found["attention_norm"].title == found["mlp_norm"].title == "RMSNorm"
    assert "attention_output_norm" not in found
    assert found["embedding"].note == "151,936 × 896"
    assert found["head"].tags == ("tied to embedding",)


def test_a_parallel_layer_has_one_norm_for_both_branches() -> None:
    kind = model("gptj").stacks[0].kinds[0]
    assert kind.arrangement == "parallel"
    assert kind.shared_norm is not None
    assert [branch.before for branch in kind.branches] == [None, None]


def test_a_sandwich_has_four_norms_and_two_variants() -> None:
    kind = model("gemma3", "1b").stacks[0].kinds[0]
    assert all(branch.before is not None and branch.after is not None for branch in kind.branches)
    wide, narrow = kind.variants
    assert wide.texts == ("all keys", "RoPE θ 1,000,000")
    assert wide.layers == (5, 11, 17, 23)
    assert narrow.texts == ("RoPE θ 10,000", "window 512")
    assert "RoPE θ 10,000" not in kind.branches[0].body.tags
    cells = model("gemma3", "1b").stacks[0].cells
    assert [cell.shade for cell in cells[:7]] == [1, 1, 1, 1, 1, 0, 1]


def test_experts_and_the_first_dense_layers() -> None:
    stack = model("deepseek-v3", "671b").stacks[0]
    assert [(kind.letter, len(kind.layers)) for kind in stack.kinds] == [("A", 3), ("B", 58)]
    assert [cell.mlp for cell in stack.cells[:5]] == ["mlp", "mlp", "mlp", "experts", "experts"]
    experts = blocks("deepseek-v3", "671b", kind=1)["mlp"]
    assert Grid(256, 8, 8, 4, shared=True) in experts.rows
    assert "4 of 8 groups, by best two" in experts.tags
    latent = blocks("deepseek-v3", "671b")["attention"]
    assert Heads(128, 1, (512, 64)) in latent.rows
    assert Step("q latent 1,536 · KV latent 512 + 64") in latent.rows
    assert Step("q → 128 × 192 · k, v → 128 × 128") in latent.rows


def test_an_encoder_decoder_has_two_stacks_and_cross_attention() -> None:
    encoder, decoder = model("t5").stacks
    assert [branch.body.name for branch in encoder.kinds[0].branches] == ["attention", "mlp"]
    assert [branch.body.name for branch in decoder.kinds[0].branches] == ["attention", "cross_attention", "mlp"]
    assert encoder.inputs[0].tags == ("decoder's table",)
    assert "bidirectional" in encoder.kinds[0].branches[0].body.tags
    assert "bidirectional" not in decoder.kinds[0].branches[0].body.tags
    assert not encoder.ends


def test_layers_of_one_branch() -> None:
    stack = model("nemotron-h", "8b").stacks[0]
    assert [kind.name for kind in stack.kinds] == ["State space", "MLP", "Attention"]
    assert [(cell.mixer, cell.mlp) for cell in stack.cells[:2]] == [("recurrent", None), (None, "mlp")]
    assert stack.kinds[2].layers == (7, 18, 29, 40)


def test_an_encoder_has_a_head_and_a_pooler_and_three_tables() -> None:
    (stack,) = model("bert").stacks
    assert [block.name for block in stack.inputs] == ["embedding", "positions", "token_types"]
    assert [end.outcome for end in stack.ends] == ["logits, 30,522", "pooled, 768"]
    assert stack.kinds[0].norms_after_sum
    assert [block.name for block in stack.after_sum] == ["embedding_norm"]


def test_numbers_that_differ_from_layer_to_layer_are_ranges() -> None:
    kind = model("openelm").stacks[0].kinds[0]
    assert kind.branches[0].body.note == "12–20 Q, 3–5 KV heads × 64"
    assert len(kind.variants) == 16


def test_shared_weights_are_noted() -> None:
    assert model("albert").stacks[0].notes == ("12 layers share 1 set of weights",)


def test_other_branches_and_scales() -> None:
    kind = model("granite").stacks[0].kinds[0]
    assert [branch.scale for branch in kind.branches] == ["× 0.22", "× 0.22"]
    glm = model("chatglm").stacks[0].kinds[0]
    assert glm.skips_norm
    assert glm.branches[0].skip_scale == "× 7.483"


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("position=alibi", "ALiBi"),
        ("position=none", "no positions (NoPE)"),
        ("attention.sinks=true", "sinks"),
        ("attention.window=64", "window 64"),
        ("attention.qk_norm={kind: rmsnorm, eps: 1e-6}", "QK: RMSNorm"),
        ("attention.softcap=30.0", "softcap 30"),
        ("attention.gate={over: heads}", "sigmoid gate per head"),
        ("position.fraction=0.25", "RoPE θ 10,000, 25% of a head"),
    ],
    ids=["alibi", "nope", "sinks", "window", "qk-norm", "softcap", "gate", "partial"],
)
def test_options_of_attention_are_tags(override: str, text: str) -> None:
    assert text in blocks("llama", "llama-2-7b", overrides=(override,))["attention"].tags


@pytest.mark.parametrize(
    ("layers", "text"),
    [
        ((4,), "4"),
        ((0, 1, 2, 5), "0–2, 5"),
        ((0, 2, 4, 6, 8, 10), "0, 2, … 10"),
        ((0, 1, 3, 4, 6, 7, 9, 10, 12, 13, 15), "0–1, 3–4, … 15"),
        ((0, 2, 4, 6, 9, 11, 13), "0, 2, 4, 6, 9, …"),
    ],
    ids=["one", "few", "regular", "regular-ranges", "irregular"],
)
def test_ranges_of_layers(layers: tuple[int, ...], text: str) -> None:
    assert shortened_ranges(layers) == text


def test_texts_that_differ_in_numbers_are_merged() -> None:
    assert merge_texts(["q → 1,024 · k", "q → 512 · k"]) == "q → 512 or 1,024 · k"
    assert merge_texts(["× 0.5", "× 0.25", "× 1e-3"]) == "× 1e-3–0.5"
    assert merge_texts(["same", "same"]) == "same"


def test_two_models_differ_in_texts_and_values() -> None:
    a, b = model("qwen2", "7b"), model("llama", "llama-3-8b")
    changes = changed_texts(a, b)
    assert changes["a-attention"] == {
        *("28 Q, 4 KV heads × 128", "q → 3,584 · k, v → 512", "out 3,584 → 3,584"),
        *("RoPE θ 1,000,000", "bias on q, k, v"),
    }
    assert "SwiGLU" not in changes["a-mlp"]
    rows = differences(bound("qwen2", "7b"), bound("llama", "llama-3-8b"))
    assert rows[0] == Difference("layers", "28", "32")
    assert Difference("layers[0-27].attention.bias.qkv", "true", "false") in rows
    assert not any(row.path.startswith("layers[28") for row in rows)
    assert changed_texts(a, a) == {}
    assert differences(bound("qwen2", "7b"), bound("qwen2", "7b")) == []


def test_a_model_without_a_counterpart_is_changed_as_a_whole() -> None:
    changes = changed_texts(model("t5"), model("llama"))
    assert "Attention" in changes["encoder-a-attention"]
    assert "Cross-attention" in changes["decoder-a-cross_attention"]
    assert "Attention" not in changes["decoder-a-attention"]


def test_many_variants_are_ranges_of_their_tags_too() -> None:
    kind = model("minimax").stacks[0].kinds[1]
    assert "fixed decay × 1.013e-5–0.9874" in kind.branches[0].body.tags
    assert {cell.shade for cell in model("minimax").stacks[0].cells} == {0}


def test_layers_with_other_factors_are_of_one_kind_and_other_norms_of_another() -> None:
    factors = ("layer.branch_scale=0.5 if layer % 2 == 0 else 0.25",)
    (kind,) = model("llama", "llama-2-7b", factors).stacks[0].kinds
    assert kind.branches[0].scale == "× 0.25 or 0.5"
    norms = ("layer.norm.placement=[pre, sandwich]",)
    assert [len(kind.layers) for kind in model("llama", "llama-2-7b", norms).stacks[0].kinds] == [16, 16]


def test_values_that_differ_have_few_digits() -> None:
    rows = {row.path: (row.a, row.b) for row in differences(bound("gemma2", "2b"), bound("gemma3", "270m"))}
    assert rows["embedding.scale"] == ("48", "25.3")
    assert rows["layers[0-17].attention.qk_norm"][0] == "none"


def test_a_mixer_without_weights_and_added_tables() -> None:
    stack = model("fnet").stacks[0]
    assert stack.kinds[0].branches[0].body.title == "Fourier mixing"
    assert stack.cells[0].mixer == "mixing"
    features = {block.name: block for block in model("tapas").stacks[0].inputs}
    assert features["further_tables"].title == "Features"
    assert features["positions"].note == "1,024 × 768"


def test_branches_of_one_matrix() -> None:
    kinds = model("fnet", None, ("mixing=[fourier, linear]", "mlp=linear")).stacks[0].kinds
    titles = [[branch.body.title for branch in kind.branches] for kind in kinds]
    assert titles == [["Fourier mixing", "Linear"], ["Linear", "Linear"]]


def test_an_indexer_is_a_tag() -> None:
    found = blocks("glm-moe-dsa")["attention"]
    assert {"top 2,048 keys", "indexer: 32 heads × 128"} <= set(found.tags)


def test_hyper_connections_are_on_every_branch() -> None:
    mixing = "layer={streams: {mixing: {kind: sinkhorn, iterations: 2, eps: 1e-6}}}"
    for overrides, skip in (((), "of 4 streams"), ((mixing,), "of 4 streams, mixed")):
        branches = model("hy-v4", "preview", overrides).stacks[0].kinds[0].branches
        assert [(branch.scale, branch.skip_scale) for branch in branches] == [("to each stream", skip)] * 2
        assert all("reads a weighted sum of 4 streams" in branch.body.tags for branch in branches)


def test_disentangled_positions_and_a_convolution_next_to_a_layer() -> None:
    stack = model("deberta-v2").stacks[0]
    assert any(tag.startswith("disentangled: q·P + k·P") for tag in stack.kinds[0].branches[0].body.tags)
    text = "layer={convolution: {kernel: 3, activation: tanh, norm: {kind: layernorm, eps: 1e-5}}}"
    extras = model("bert", "base", (text,)).stacks[0].kinds[0].extras
    assert [block.name for block in extras] == ["convolution", "convolution_norm"]
    assert extras[0].rows == (Step("kernel 3, tanh, of the layer's input"),)


def test_a_key_without_a_text_of_its_own_is_a_tag() -> None:
    from archc.archspec.vocabulary import LmHead
    from archc.draw.describe.words import further_tags

    head = LmHead(tie=True, scale=0.5, softcap=30.0)
    assert further_tags(head, "scale") == ["tie", "softcap 30"]


def test_a_window_is_lighter_wherever_other_layers_have_all_keys() -> None:
    overrides = ("num_kv_shared_layers=10", "attention_k_eq_v=true")
    stack = model("gemma4", None, overrides).stacks[0]
    assert len(stack.kinds) == 3
    assert [cell.shade for cell in stack.cells[3:7]] == [1, 1, 0, 1]
    assert {cell.shade for cell in model("mistral").stacks[0].cells} == {0}


def test_many_layers_of_a_path_are_a_few_numbers() -> None:
    paths = {row.path for row in differences(bound("jamba"), bound("qwen3-next"))}
    assert "layers[1, 3, … 31].mlp.experts" in paths
    assert "layers[4, 12, 20, 28].recurrence" in paths


def test_a_layer_without_branches_is_the_identity() -> None:
    kinds = {kind.name: kind for kind in model("mllama-text").stacks[0].kinds}
    assert [block.title for block in kinds["Identity"].blocks] == ["Identity"]


def test_heads_of_a_convolution_widen_the_output_projection() -> None:
    found = blocks("convbert")["attention"]
    assert found.rows[-1] == Step("out 768 → 768")
    assert "span convolution: kernel 9" in found.tags


def test_a_norm_after_a_branch_may_have_an_eps_of_its_own() -> None:
    norm = ("layer={norm: {placement: sandwich, output_eps: 0.25}}",)
    found = blocks("llama", "llama-2-7b", overrides=norm)
    assert (found["mlp_norm"].note, found["mlp_output_norm"].note) == ("ε 1e-5", "ε 0.25")
