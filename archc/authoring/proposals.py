"""Proposals for keys of a config and for tensors that a spec does not explain: words of the vocabulary, as data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cached_property

from archc.archspec import Spec
from archc.archspec.errors import closest_match, format_list
from archc.authoring.stored_names import ending, table_endings

_MOST_SPECS = 3  # that a proposal names

# Endings of names of tensors, without `.weight` and with the placeholders of `collapse`, and the word that has such a
# tensor. The first match counts.
TENSORS: tuple[tuple[str, str, str], ...] = (
    (r"(self_attn|attention|attn)\.(q|k|query|key)_(layer)?norm", "attention.qk_norm", "a norm on queries and keys"),
    (r"\.sinks?", "attention.sinks", "a learned logit per head in the softmax"),
    (r"(self_attn|attention|attn)\.(g|gate)_proj", "attention.gate", "a gate on the output of the heads"),
    (r"\.kv_a_proj_with_mqa|\.kv_b_proj|\.q_[ab]_proj|\.(q|kv)_a_layernorm", "attention.kind", "latent"),
    (r"(self_attn|attention|attn)\.(q|k|v|query|key|value|qkv|query_key_value|c_attn|Wqkv)\w*\.bias",
     "attention.bias", "{qkv: true}"),
    (r"(self_attn|attention|attn)\.(o|out|dense|c_proj|proj)\w*\.bias", "attention.bias", "{out: true}"),
    (r"(post|pre)_(feedforward|mlp|ffn?)_(layer)?norm|post_(self_)?attn_(layer)?norm", "layer.norm",
     "placement: sandwich or output"),
    (r"experts\.\S*bias", "mlp.expert", "biases of the experts"),
    (r"\.(gate|router)\.e_score_correction_bias", "mlp.router.selection_bias", "true"),
    (r"shared_expert_gate", "mlp.shared_gate", "true"),
    (r"shared_experts?\.|shared_mlp\.", "mlp.shared", "an expert of every token"),
    (r"experts\.|\.router\b|(mlp|moe|block_sparse_moe)\.gate", "mlp.kind", "moe"),
    (r"(mlp|ffn|feed_forward)\.\S*bias", "mlp.bias", "biases of the MLP"),
    (r"(A_log|\bD|dt_proj|x_proj|conv1d)$", "recurrence.kind", "a state-space mixer"),
    (r"token_type_embeddings", "embedding.token_types", "a table of token types"),
    (r"(position_embeddings|wpe|embed_positions)", "position.kind", "learned"),
    (r"(embeddings?|embed)(\.|_)(layer_?)?norm", "embedding.norm", "a norm on the embeddings"),
    (r"norm\S*\.bias", "layer.norm", "kind: layernorm with a bias"),
    (r"(lm_head|output)\.bias|lm_head$", "head.bias", "a bias of the head, or head.tie: false"),
    (r"cross_attn|crossattention|encoder_attn", "cross_attention", "attention to an encoder's output"),
    (r"(pooler|pooling)\.", "pooler.kind", "a pooler with weights"),
)  # fmt: skip

# Keys of a config, and the word that usually reads them.
KEYS: tuple[tuple[str, str, str], ...] = (
    (r"(use_)?(qk|query_key)_(layer)?norm", "attention.qk_norm", "a norm on queries and keys"),
    (r"(attention|attn)_(logits?_)?soft_?cap\w*", "attention.softcap", ""),
    (r"final_logits?_soft_?cap\w*|logits?_soft_?cap\w*", "head.softcap", ""),
    (r"(use_)?sliding_window\w*|attention_window|window_size", "attention.window", ""),
    (r"layer_types|\w*_layer_(freq|period|offset)|\w*_pattern", "variants", "sections of some layers"),
    (r"no_rope_layers?\w*|nope_\w+", "position", "kind: none in some layers"),
    (r"partial_rotary_factor|rotary_pct", "position.fraction", ""),
    (r"(embedding|embed)_(multiplier|scale)|scale_emb\w*", "embedding.scale", ""),
    (r"residual_(multiplier|scale)|scale_depth", "layer.branch_scale", ""),
    (r"(logits?_(scaling|scale|multiplier)|lm_head_multiplier)", "head.scale", ""),
    (r"(attention|attn)_(multiplier|scale|logit_scale)|query_pre_attn_scalar", "attention.scale", ""),
    (r"(attention|attn|qkv|use_qkv|o_proj|attention_out|use)_bias", "attention.bias", ""),
    (r"mlp_bias", "mlp.bias", ""),
    (r"clip_qkv", "attention.clip", ""),
    (r"\w*gate\w*_(attn|attention)|(attn|attention)_\w*gat\w*|use_output_gate", "attention.gate", ""),
    (r"(kv|q)_lora_rank|qk_(nope|rope)_head_dim|v_head_dim", "attention.kind", "latent"),
    (r"(n|num)_group|topk_group", "mlp.router.groups", ""),
    (r"routed_scaling_factor|norm_topk_prob|scoring_func|topk_method|moe_\w*router\w*", "mlp.router", ""),
    (r"\w*shared_expert\w*", "mlp.shared", ""),
    (r"first_k_dense_replace|mlp_only_layers|moe_layer_\w+|decoder_sparse_step", "variants", "layers with a dense MLP"),
    (r"\w*experts?\w*|moe_\w+", "mlp.kind", "moe"),
    (r"(linear|ssm|mamba|conv)_\w+", "recurrence.kind", "a recurrent mixer in some layers"),
    (r"swiglu_limit|\w*activation_clip\w*", "mlp.limit", ""),
    (r"parallel_attn|use_parallel_residual|parallel_\w+", "layer.residual", "parallel"),
    (r"alibi\w*", "position.kind", "alibi"),
    (r"type_vocab_size", "embedding.token_types", ""),
)  # fmt: skip


class Proposals:
    """Proposals from the tables, and from the shipped specs that have a like key or tensor."""

    def __init__(self, specs: Mapping[str, Spec]) -> None:
        self._specs = specs

    def of_key(self, key: str, known: Iterable[str]) -> str:
        """Return proposals for a key of the config, or an empty text; `known` are names that the spec reads."""
        texts = [_word(KEYS, key, full=True)]
        readers = [name for name, spec in self._specs.items() if _reads(spec, key)]
        if readers:
            texts.append(f"read by {_few(readers)}")
        elif (match := closest_match(key, known)) is not None:
            texts.append(f"did you mean {match}?")
        return "; ".join(filter(None, texts))

    def of_tensor(self, pattern: str) -> str:
        """Return proposals for tensors by their pattern, or an empty text."""
        name = pattern.removesuffix(".weight")
        texts = [_word(TENSORS, name, full=False)]
        slots: dict[str, list[str]] = {}
        for spec, table in self._tables.items():
            for slot in table.get(ending(name), ()):
                slots.setdefault(slot, []).append(spec)
        if slots:
            slot, owners = max(slots.items(), key=lambda item: len(item[1]))
            texts.append(f"{slot} in {_few(owners)}")
        return "; ".join(filter(None, texts))

    @cached_property
    def _tables(self) -> dict[str, dict[str, list[str]]]:
        """Return the slots of each spec by the endings of their checkpoint names."""
        result: dict[str, dict[str, list[str]]] = {name: {} for name in self._specs}
        for name, spec in self._specs.items():
            for slot, endings in table_endings(spec.raw.weights).items():
                for end in endings:
                    result[name].setdefault(end, []).append(slot)
        return result


def _word(table: Iterable[tuple[str, str, str]], name: str, full: bool) -> str:
    for pattern, word, remark in table:
        if re.fullmatch(pattern, name) if full else re.search(pattern, name):
            return f"{word} ({remark})" if remark else word
    return ""


def _reads(spec: Spec, key: str) -> bool:
    return any(key in entry.keys for name, entry in spec.names.config.items() if name in spec.read)


def _few(names: list[str]) -> str:
    return format_list(names[:_MOST_SPECS]) + (" …" if len(names) > _MOST_SPECS else "")
