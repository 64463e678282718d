"""A plan as a model of lm-evaluation-harness (https://github.com/EleutherAI/lm-evaluation-harness), in process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

from archc.error import Error
from archc.evaluation.scores import score
from archc.runtime.engine import Engine
from archc.runtime.errors import PromptError
from archc.runtime.generation.options import SamplingOptions

_NEW_TOKENS = 256  # the harness's default
_LENGTH_NAMES = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
_SUPPORTED = {"until", "do_sample", "temperature", "top_k", "top_p", *_LENGTH_NAMES}

Progress = Callable[[str, int, int], None]


class TaskError(Error):
    """A task that the harness cannot load or that needs what the plan does not support."""


class PlanModel(TemplateLM):  # type: ignore[misc]
    """The harness's interface over an engine: log-likelihoods and generation, in batches of similar lengths.

    Raises PromptError for a plan that is no decoder or has no tokenizer.
    """

    def __init__(self, engine: Engine, batch: int = 8, progress: Progress = lambda name, done, total: None) -> None:
        super().__init__()
        manifest = engine.manifest
        if manifest.topology != "decoder":
            raise PromptError(f"{manifest.family}: tasks are for decoders, not for topology {manifest.topology}")
        if engine.tokenizer is None:
            raise PromptError("the plan has no tokenizer, so text is not supported; build it from a folder with one")
        self._engine, self._tokens, self._batch, self._progress = engine, engine.tokenizer, batch, progress
        self.max_length = manifest.limits.max_seq_len

    @property
    def eot_token_id(self) -> int:
        """Return the token that ends a text."""
        tokens = self._engine.manifest.tokens
        if not tokens.eos and tokens.bos is None:
            raise PromptError("the plan has no token that begins or ends a text, which tasks without context require")
        return tokens.eos[0] if tokens.eos else int(tokens.bos or 0)

    @property
    def prefix_token_id(self) -> int:
        """Return the token before a text without context: the one that begins a text, or else the one that ends it."""
        begin = self._engine.manifest.tokens.bos
        return begin if begin is not None else self.eot_token_id

    @property
    def tokenizer_name(self) -> str:
        """Return a name for the harness's cache of prompts."""
        return f"archc:{self._engine.plan.path}"

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        """Return the ids of a text, in which special tokens are parsed, as the harness expects of chat prompts."""
        special = add_special_tokens if add_special_tokens is not None else True
        return list(self._tokens.encode(string, add_special_tokens=special, parse_special=True))

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """Return the text of a chat."""
        return str(self._tokens.chat(chat_history, add_generation_prompt=add_generation_prompt))

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """Return a name of the chat template, for the harness's records."""
        return "of the plan" if chat_template else None

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, Sequence[int], Sequence[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        rows = []
        for _text, context, continuation in requests:
            if not continuation or not context:
                raise TaskError("a task has an empty context or continuation, which has no log-likelihood")
            # The end of a text that is too long counts, as in the harness's own models.
            row = [*context, *continuation][-self.max_length - 1 :]
            rows.append((row, min(len(continuation), len(row) - 1)))
        found: list[tuple[float, bool]] = [(0.0, False)] * len(rows)
        for part in self._parts("log-likelihoods", [len(row) for row, _ in rows]):
            scores = score(self._engine, [rows[index][0] for index in part], [rows[index][1] for index in part])
            for index, (values, is_greedy) in zip(part, scores, strict=True):
                found[index] = float(values.sum()), is_greedy
        return found

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:
        """Return the log-likelihood of each whole text, in windows of the plan's maximum length."""
        found = []
        for request in requests:
            windows = map(
                make_disjoint_window,
                get_rolling_token_windows(
                    self.tok_encode(request.args[0]), self.prefix_token_id, self.max_length, context_len=1
                ),
            )
            found.append(sum(value for value, _ in self._loglikelihood_tokens([(None, *each) for each in windows])))
        return found

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:
        """Return the text that continues each prompt, up to one of its stop strings."""
        prompts, options = [], []
        for request in requests:
            text, keywords = request.args
            options.append(_sampling(keywords))
            room = self.max_length - (options[-1].max_new_tokens or 1)
            if room < 1:
                raise TaskError(
                    f"a task generates {options[-1].max_new_tokens} tokens, but the plan's maximum is "
                    f"{self.max_length}; pass --new-tokens"
                )
            prompts.append(self.tok_encode(text)[-room:])
        found = [""] * len(prompts)
        for part in self._parts("generation", [len(prompt) for prompt in prompts], options):
            generated = self._engine.run([prompts[index] for index in part], options[part[0]], defaults=False)
            for index, ids in zip(part, generated.ids, strict=True):
                stops = options[index].stop_strings
                found[index] = _before(self._tokens.decode(ids), stops)
        return found

    def _parts(self, name: str, lengths: Sequence[int], keys: Sequence[Any] | None = None) -> Iterable[list[int]]:
        """Yield indices in batches of similar lengths and equal keys."""
        order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
        groups: dict[Any, list[int]] = {}
        for index in order:
            groups.setdefault(keys[index] if keys is not None else None, []).append(index)
        done = 0
        for group in groups.values():
            for start in range(0, len(group), self._batch):
                part = group[start : start + self._batch]
                self._progress(name, done, len(lengths))
                yield part
                done += len(part)


def evaluate(
    model: PlanModel,
    tasks: Sequence[str],
    folder: Path | None = None,
    shots: int | None = None,
    limit: int | None = None,
    new_tokens: int | None = None,
    chat: bool = False,
) -> dict[str, Any]:
    """Run tasks by name, those of `folder` as well, and return the harness's results by task.

    Raises TaskError for a task that is unknown or whose data cannot be loaded.
    """
    manager = _manager(tasks, folder)
    try:
        found = simple_evaluate(
            model,
            tasks=list(tasks),
            num_fewshot=shots,
            limit=limit,
            task_manager=manager,
            gen_kwargs={"max_gen_toks": new_tokens} if new_tokens is not None else None,
            apply_chat_template=chat,
            log_samples=False,
            bootstrap_iters=0,
        )
    except (ConnectionError, FileNotFoundError, KeyError) as error:
        raise TaskError(f"--tasks: the harness cannot load {', '.join(tasks)}: {error}") from None
    results: dict[str, Any] = found["results"]
    return results


def _manager(tasks: Sequence[str], folder: Path | None) -> TaskManager:
    """Return the harness's index of tasks; its own ones, of which there are thousands, only where they are needed."""
    if folder is not None:
        if not folder.is_dir():
            raise TaskError(f"--include: {folder} is not a folder; expected one with YAML files of tasks")
        manager = TaskManager(include_path=str(folder), include_defaults=False)
        if set(tasks) <= set(manager.all_tasks):
            return manager
    manager = TaskManager(include_path=str(folder) if folder is not None else None)
    if unknown := [name for name in tasks if name not in manager.all_tasks]:
        raise TaskError(
            f"--tasks: unknown task {unknown[0]!r}; pass --include DIR with its YAML file, or see `lm-eval ls`"
        )
    return manager


def _sampling(keywords: dict[str, Any]) -> SamplingOptions:
    """Return the options of a request for generation; raise TaskError for one that has no counterpart."""
    if unknown := sorted(keywords.keys() - _SUPPORTED):
        raise TaskError(f"generation_kwargs: {unknown[0]!r} is not supported; remove it from the task")
    until = keywords.get("until") or ()
    stops = (until,) if isinstance(until, str) else tuple(until)
    new = next((int(keywords[name]) for name in _LENGTH_NAMES if name in keywords), _NEW_TOKENS)
    samples = keywords.get("do_sample", bool(keywords.get("temperature")))
    return SamplingOptions(
        max_new_tokens=new,
        temperature=float(keywords.get("temperature") or 1.0) if samples else 0.0,
        top_k=keywords.get("top_k") if samples else None,
        top_p=keywords.get("top_p") if samples else None,
        seed=0,
        stop=stops or None,
    )


def _before(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first stop string."""
    ends = [text.index(stop) for stop in stops if stop in text]
    return text[: min(ends)] if ends else text
