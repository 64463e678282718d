"""From the fields of a request to the options of a generation."""

from __future__ import annotations

from archc.runtime.generation.options import SamplingOptions
from archc.runtime.serving.requests import option_keywords
from archc.runtime.structure.grammar import Grammar
from archc.serve.errors import bad
from archc.serve.schema import ChatRequest, CompletionRequest, GenerationRequest

_MOST_CHOICES = 128
_MOST_LOGPROBS = 20


_OPTIONS = (
    *("max_tokens", "min_tokens", "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty"),
    *("frequency_penalty", "logit_bias", "seed", "stop", "stop_token_ids", "ignore_eos", "regex", "grammar"),
)


def sampling_options(request: GenerationRequest, grammar: Grammar | None = None) -> SamplingOptions:
    """Return the options of a request; those left out have the plan's defaults. Raises PromptError.

    `grammar` is that of the response format or of the tools, which the request's own grammar would contradict.
    """
    fields = {name: value for name in _OPTIONS if (value := getattr(request, name)) is not None}
    if isinstance(request, ChatRequest) and request.max_completion_tokens is not None:
        fields["max_tokens"] = request.max_completion_tokens
    if is_empty_echo(request):
        fields["max_tokens"] = 1  # of the options, for a job that chooses none
    return SamplingOptions.from_keywords(option_keywords(fields, grammar))


def choices_of(request: GenerationRequest) -> int:
    """Return the number of answers to each prompt."""
    count = 1 if request.n is None else request.n
    if not 1 <= count <= _MOST_CHOICES:
        raise bad(f"n: expected 1 to {_MOST_CHOICES} answers, got {count}", "n")
    return count


def logprobs_of(request: GenerationRequest) -> int | None:
    """Return the number of likely tokens to report at each position; None reports no log-probabilities."""
    if isinstance(request, CompletionRequest):
        name, count = "logprobs", request.logprobs
    else:
        assert isinstance(request, ChatRequest)
        name, count = "top_logprobs", request.top_logprobs
        if not request.logprobs:
            if count:
                raise bad("top_logprobs: requires logprobs; set logprobs to true", name)
            return None
        count = count or 0
    if count is not None and not 0 <= count <= _MOST_LOGPROBS:
        raise bad(f"{name}: expected 0 to {_MOST_LOGPROBS}, got {count}", name)
    return count


def check_completion(request: CompletionRequest) -> None:
    """Raise ApiError for fields of completions that are not supported."""
    if request.best_of is not None and request.best_of != choices_of(request):
        raise bad("best_of: only the value of n is supported; leave it out", "best_of")
    if request.suffix:
        raise bad("suffix: not supported; leave it out", "suffix")


def is_empty_echo(request: GenerationRequest) -> bool:
    """Return whether the prompt alone is asked for, with its log-probabilities."""
    return isinstance(request, CompletionRequest) and bool(request.echo) and request.max_tokens == 0
