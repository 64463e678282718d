"""The generation options of `archc run`: their flags, the parsing of their values, and the rules between them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from archc.cli.commands.options import parse_ids
from archc.cli.console import UsageError

if TYPE_CHECKING:
    from archc.plan import Manifest

NEW_TOKENS = 128
_SAMPLING = ("top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "seed")
_BEAMS = ("length_penalty", "early_stopping")

MaxNewTokens = Annotated[
    int | None,
    typer.Option(
        "--max-new-tokens", min=1, metavar="N", help=f"Maximum new tokens. Default: the plan's, or {NEW_TOKENS}."
    ),
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", metavar="T", help="Sampling temperature; 0 is greedy decoding.")
]
TopK = Annotated[int | None, typer.Option("--top-k", metavar="K", help="Top-k sampling: the K most probable tokens.")]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", metavar="P", help="Nucleus sampling: smallest set of tokens with total probability P."),
]
MinP = Annotated[
    float | None, typer.Option("--min-p", metavar="P", help="Keep tokens with probability ≥ P × the maximum.")
]
TypicalP = Annotated[
    float | None, typer.Option("--typical-p", metavar="P", help="Locally typical sampling with total probability P.")
]
EpsilonCutoff = Annotated[
    float | None, typer.Option("--epsilon-cutoff", metavar="E", help="Keep tokens with probability ≥ E.")
]
EtaCutoff = Annotated[
    float | None,
    typer.Option("--eta-cutoff", metavar="E", help="Eta sampling: a least probability that falls with the entropy."),
]
RepetitionPenalty = Annotated[
    float | None,
    typer.Option("--repetition-penalty", metavar="R", help="Repetition penalty; above 1 penalizes used tokens."),
]
EncoderRepetitionPenalty = Annotated[
    float | None,
    typer.Option("--encoder-repetition-penalty", metavar="R", help="Above 1 prefers tokens of the source."),
]
NoRepeatNgramSize = Annotated[
    int | None, typer.Option("--no-repeat-ngram-size", metavar="N", help="No n-gram of N tokens occurs twice.")
]
EncoderNoRepeatNgramSize = Annotated[
    int | None, typer.Option("--encoder-no-repeat-ngram-size", metavar="N", help="No n-gram of N source tokens occurs.")
]
MinNewTokens = Annotated[
    int | None, typer.Option("--min-new-tokens", metavar="N", help="No end token before N new tokens.")
]
MaxLength = Annotated[
    int | None,
    typer.Option(
        "--max-length", metavar="N", help="Maximum tokens with the prompt; --max-new-tokens comes first.", min=1
    ),
]
MinLength = Annotated[
    int | None, typer.Option("--min-length", metavar="N", help="No end token before N tokens with the prompt.")
]
BadWordsIds = Annotated[
    list[str] | None,
    typer.Option("--bad-words-ids", metavar="1,2,3", help="Token sequence that is not generated. Repeatable."),
]
SequenceBias = Annotated[
    list[str] | None,
    typer.Option("--sequence-bias", metavar="1,2=X", help="Add X to the logit of a sequence's last token. Repeatable."),
]
SuppressTokens = Annotated[
    list[int] | None, typer.Option("--suppress-tokens", metavar="ID", help="Token that is not generated. Repeatable.")
]
BeginSuppressTokens = Annotated[
    list[int] | None,
    typer.Option("--begin-suppress-tokens", metavar="ID", help="Token that does not begin the output. Repeatable."),
]
ForcedBosTokenId = Annotated[
    int | None, typer.Option("--forced-bos-token-id", metavar="ID", help="Token after a prompt of one token.")
]
ForcedEosTokenId = Annotated[
    list[int] | None,
    typer.Option("--forced-eos-token-id", metavar="ID", help="Last token at the maximum length. Repeatable."),
]
ExponentialDecayLengthPenalty = Annotated[
    str | None,
    typer.Option(
        "--exponential-decay-length-penalty", metavar="N,F", help="Raise end tokens after N new tokens by factors F."
    ),
]
NumBeams = Annotated[
    int | None,
    typer.Option("--num-beams", metavar="N", help="Beam search with N beams; the text is not streamed.", min=1),
]
LengthPenalty = Annotated[
    float | None, typer.Option("--length-penalty", metavar="X", help="Beam search: scores are divided by length ^ X.")
]
EarlyStopping = Annotated[
    str | None,
    typer.Option(
        "--early-stopping",
        metavar="yes|no|never",
        help="Beam search: end with N finished beams; never: only if no beam can improve.",
    ),
]
Speculation = Annotated[
    str | None,
    typer.Option(
        "--speculate",
        metavar="N|off|auto",
        help="Propose N tokens by prompt lookup and verify them in one call; same output. Default: auto, if it pays.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="S", help="Seed of sampling.")]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="TEXT", help="Stop sequence (not included in the output). Repeatable."),
]
StopToken = Annotated[
    list[int] | None,
    typer.Option("--stop-token", metavar="ID", help="Stop token (not included in the output). Repeatable."),
]
RenormalizeLogits = Annotated[
    bool | None,
    typer.Option("--renormalize-logits/--keep-logits", help="Beam search: normalize scores after the rules."),
]
IgnoreEos = Annotated[bool, typer.Option("--ignore-eos", help="Do not stop at end-of-sequence tokens.")]
NoDefaults = Annotated[bool, typer.Option("--no-defaults", help="Use none of the plan's generation settings.")]


def option_name(name: str) -> str:
    """Return the option of a keyword argument: top_k is --top-k."""
    names = {"stop_token_ids": "stop-token", "defaults": "no-defaults"}
    return "--" + names.get(name, name.replace("_", "-"))


def parse_bias(text: str) -> tuple[list[int], float]:
    """Return the tokens and the bias of `1,2=0.5`."""
    ids, _, value = text.rpartition("=")
    return parse_ids(ids, "--sequence-bias"), _number(value, "--sequence-bias", "1,2=0.5")


def parse_decay(text: str | None) -> tuple[int, float] | None:
    """Return the first new token and the factor of `20,1.1`."""
    if text is None:
        return None
    begin, _, factor = text.partition(",")
    if not begin.strip().isdecimal():
        raise UsageError(f"--exponential-decay-length-penalty: expected 20,1.1, for example, got {text:.40}")
    return int(begin), _number(factor, "--exponential-decay-length-penalty", "20,1.1")


def parse_early_stopping(text: str | None) -> bool | Literal["never"] | None:
    """Return the value of --early-stopping."""
    values: dict[str | None, bool | Literal["never"] | None] = {None: None, "yes": True, "no": False, "never": "never"}
    if text not in values:
        raise UsageError(f"--early-stopping: expected yes, no or never, got {text:.40}")
    return values[text]


def parse_speculate(text: str | None) -> int | Literal["auto", "off"] | None:
    """Return the value of --speculate."""
    words: dict[str | None, Literal["auto", "off"] | None] = {None: None, "auto": "auto", "off": "off"}
    if text is None or text in words:
        return words[text]
    if not (text.isascii() and text.isdecimal() and len(text) < 4):
        raise UsageError(f"--speculate: expected a number of tokens, off or auto, got {text:.40}")
    return int(text)


def _number(text: str, option: str, example: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{option}: {text[:40]!r} is not a number; expected {example}, for example") from None


def check_sampling(manifest: Manifest, options: dict[str, Any]) -> None:
    """Raise UsageError for options of sampling without sampling, and of beam search without beams."""
    plan = manifest.generation if options.get("defaults", True) else None
    is_sampled = plan is not None and plan.do_sample and plan.temperature != 0
    if not options.get("temperature", is_sampled):
        for name in _SAMPLING:
            if name in options:
                raise UsageError(f"{option_name(name)} has no effect on greedy decoding; add --temperature 1")
    if options.get("num_beams", (plan and plan.num_beams) or 1) == 1:
        for name in _BEAMS:
            if name in options:
                raise UsageError(f"{option_name(name)} has no effect without beam search; add --num-beams 4")


def set_chat_stop(manifest: Manifest, options: dict[str, Any]) -> None:
    """Set the stop strings of a chat, unless an option sets them."""
    if manifest.chat_stop and options.get("defaults", True):
        options.setdefault("stop", list(manifest.chat_stop_strings))


def set_length(manifest: Manifest, options: dict[str, Any]) -> None:
    """Set the default number of new tokens, unless an option or the plan sets a length."""
    plan = manifest.generation if options.get("defaults", True) else None
    has_length = plan is not None and (plan.max_new_tokens is not None or plan.max_length is not None)
    if not has_length and "max_length" not in options:
        options.setdefault("max_new_tokens", NEW_TOKENS)
