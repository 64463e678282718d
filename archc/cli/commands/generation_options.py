"""The generation options of `run` and `chat`: their flags, the parsing of their values, and the rules between them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from archc.cli.commands.generation_values import (
    parse_bias,
    parse_boolean,
    parse_decay,
    parse_early_stopping,
    parse_integer,
    parse_logit_bias,
    parse_number,
    parse_speculate,
    read_grammar,
    read_schema,
)
from archc.cli.commands.options import check_text, parse_ids
from archc.cli.console import UsageError

if TYPE_CHECKING:
    from archc.plan import Manifest

NEW_TOKENS = 128
_SAMPLING = ("top_k", "top_p", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "seed")
_BEAMS = ("length_penalty", "early_stopping", "renormalize_logits")

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
LogitBias = Annotated[
    list[str] | None,
    typer.Option("--logit-bias", metavar="ID=X", help="Add X, from -100 to 100, to a token's logit. Repeatable."),
]
PresencePenalty = Annotated[
    float | None,
    typer.Option("--presence-penalty", metavar="X", help="Subtract X from the logits of tokens in the output."),
]
FrequencyPenalty = Annotated[
    float | None,
    typer.Option("--frequency-penalty", metavar="X", help="Subtract X for each time that a token is in the output."),
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
        help="Propose N tokens, by prompt lookup or --draft, and verify them in one call. Default: as many as pay.",
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
JsonSchema = Annotated[
    str | None,
    typer.Option("--json-schema", metavar="FILE|TEXT", help="Output JSON that is valid under a schema."),
]
Regex = Annotated[str | None, typer.Option("--regex", metavar="REGEX", help="Output a match of a regular expression.")]
GrammarFile = Annotated[
    Path | None, typer.Option("--grammar", metavar="FILE", help="Output a sentence of a grammar in Lark's notation.")
]
RenormalizeLogits = Annotated[
    bool | None,
    typer.Option("--renormalize-logits/--keep-logits", help="Beam search: normalize scores after the rules."),
]
IgnoreEos = Annotated[bool, typer.Option("--ignore-eos", help="Do not stop at end-of-sequence tokens.")]
NoDefaults = Annotated[bool, typer.Option("--no-defaults", help="Use none of the plan's generation settings.")]


def _flags(
    max_new_tokens: MaxNewTokens = None,
    temperature: Temperature = None,
    top_k: TopK = None,
    top_p: TopP = None,
    min_p: MinP = None,
    repetition_penalty: RepetitionPenalty = None,
    seed: Seed = None,
    stop: Stop = None,
    stop_token_ids: StopToken = None,
    ignore_eos: IgnoreEos = False,
    typical_p: TypicalP = None,
    epsilon_cutoff: EpsilonCutoff = None,
    eta_cutoff: EtaCutoff = None,
    encoder_repetition_penalty: EncoderRepetitionPenalty = None,
    no_repeat_ngram_size: NoRepeatNgramSize = None,
    encoder_no_repeat_ngram_size: EncoderNoRepeatNgramSize = None,
    min_new_tokens: MinNewTokens = None,
    max_length: MaxLength = None,
    min_length: MinLength = None,
    bad_words_ids: BadWordsIds = None,
    sequence_bias: SequenceBias = None,
    logit_bias: LogitBias = None,
    presence_penalty: PresencePenalty = None,
    frequency_penalty: FrequencyPenalty = None,
    suppress_tokens: SuppressTokens = None,
    begin_suppress_tokens: BeginSuppressTokens = None,
    forced_bos_token_id: ForcedBosTokenId = None,
    forced_eos_token_id: ForcedEosTokenId = None,
    exponential_decay_length_penalty: ExponentialDecayLengthPenalty = None,
    json_schema: JsonSchema = None,
    regex: Regex = None,
    grammar: GrammarFile = None,
    num_beams: NumBeams = None,
    length_penalty: LengthPenalty = None,
    early_stopping: EarlyStopping = None,
    renormalize_logits: RenormalizeLogits = None,
    speculate: Speculation = None,
    no_defaults: NoDefaults = False,
) -> None:
    """Declare the flags of generation, whose names are those of SamplingOptions."""


def with_generation_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with the flags of generation besides its own; it gets their values as the dict `options`.

    Values are parsed, and options that are not given are absent.
    """
    flags = inspect.signature(_flags, eval_str=True).parameters
    own = inspect.signature(command, eval_str=True)
    parameters = [parameter for parameter in own.parameters.values() if parameter.name != "options"]

    @functools.wraps(command)
    def called(**values: Any) -> None:
        given = {name: values.pop(name) for name in flags}
        command(**values, options=_collect(given))

    called.__signature__ = own.replace(parameters=[*parameters, *flags.values()])  # type: ignore[attr-defined]
    called.__annotations__ = {item.name: item.annotation for item in (*parameters, *flags.values())}
    return called


def _collect(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are given, with parsed values."""
    options = {name: value for name, value in given.items() if name not in ("no_defaults", "ignore_eos")}
    options |= {
        "stop": [check_text(text, "--stop") for text in given["stop"] or ()],
        "ignore_eos": given["ignore_eos"] or None,
        "bad_words_ids": [parse_ids(text, "--bad-words-ids") for text in given["bad_words_ids"] or ()],
        "sequence_bias": [parse_bias(text) for text in given["sequence_bias"] or ()],
        "exponential_decay_length_penalty": parse_decay(given["exponential_decay_length_penalty"]),
        "early_stopping": parse_early_stopping(given["early_stopping"]),
        "logit_bias": parse_logit_bias(given["logit_bias"]),
        "json_schema": read_schema(given["json_schema"]),
        "grammar": read_grammar(given["grammar"]),
        "speculate": parse_speculate(given["speculate"]),
        "defaults": False if given["no_defaults"] else None,
    }
    return {name: value for name, value in options.items() if value is not None and value not in ([], {})}


def option_name(name: str) -> str:
    """Return the option of a keyword argument: top_k is --top-k."""
    names = {"stop_token_ids": "stop-token", "defaults": "no-defaults"}
    return "--" + names.get(name, name.replace("_", "-"))


def parse_option(word: str, text: str) -> tuple[str, Any]:
    """Return the keyword of an option and the value of its text, None for the default: `top-k 3` is top_k, 3.

    Raises UsageError for an unknown option or a value of another kind.
    """
    name = word.lstrip("-").replace("-", "_")
    name = {"stop_token": "stop_token_ids"}.get(name, name)
    parsers = _parsers()
    if name not in parsers:
        names = ", ".join(option_name(known)[2:] for known in parsers)
        raise UsageError(f"{word[:40]!r} is not an option; expected one of {names}")
    return name, parsers[name](text) if text else None


def _parsers() -> dict[str, Callable[[str], Any]]:
    """Return a parser for each option of generation by keyword, from the type of its flag."""
    special: dict[str, Callable[[str], Any]] = {
        "bad_words_ids": lambda text: [parse_ids(text, "bad-words-ids")],
        "sequence_bias": lambda text: [parse_bias(text)],
        "exponential_decay_length_penalty": parse_decay,
        "logit_bias": lambda text: parse_logit_bias([text]),
        "json_schema": read_schema,
        "regex": str,
        "grammar": lambda text: read_grammar(Path(text)),
        "speculate": parse_speculate,
        "stop": lambda text: [text],
        "stop_token_ids": lambda text: parse_ids(text, "stop-token"),
    }
    parsers = dict[str, Callable[[str], Any]]()
    for name, parameter in inspect.signature(_flags, eval_str=True).parameters.items():
        if name in ("no_defaults", "num_beams", "length_penalty", "early_stopping", "renormalize_logits"):
            continue
        kind, place = str(parameter.annotation.__origin__), option_name(name)[2:]
        if name in special:
            parsers[name] = special[name]
        elif "list[int]" in kind:
            parsers[name] = functools.partial(parse_ids, option=place)
        elif "bool" in kind:
            parsers[name] = functools.partial(parse_boolean, option=place)
        elif "float" in kind:
            parsers[name] = functools.partial(parse_number, option=place, example="0.5")
        else:
            parsers[name] = functools.partial(parse_integer, option=place)
    return parsers


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
