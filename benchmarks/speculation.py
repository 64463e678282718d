"""Tokens per second without proposals, with prompt lookup and with a draft plan: python benchmarks/speculation.py.

Three answers: a summary, which quotes a story; an edit, which repeats it with other names; and free text, which the
model writes. The sampler chooses the tokens of the first two whatever the logits are, because the example model was not
trained on these tasks; proposals are those of trained models. The target is the example checkpoint with an MLP that is
wider by zeros, so that it has the cost of a larger model and the same text; the draft is the example in int4. Runs
alternate, and medians are compared.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

import archc
from archc.runtime.generation.decode import decode, decode_speculatively, token_source
from archc.runtime.generation.guesses import Guess
from archc.runtime.generation.row import Row
from archc.runtime.generation.sampling import Sampler
from archc.runtime.generation.settings import Settings
from archc.runtime.generation.speculation import Speculation

EXAMPLE = Path(__file__).parent.parent / "examples" / "tiny-qwen2"
MODES = ("off", "lookup", "draft")


class Forced(Sampler):
    """A sampler that chooses the tokens of an answer, after the work of a greedy choice."""

    def __init__(self, prompt: Sequence[int], answer: Sequence[int]) -> None:
        super().__init__(Settings(), prompt)
        self._answer, self._begin = answer, len(prompt)

    def choose(self, logits: Any, guess: Guess | None = None) -> int:
        """Return the next token of the answer."""
        super().choose(logits, guess)
        self.tokens[-1] = self._answer[len(self.tokens) - 1 - self._begin]
        return self.tokens[-1]


@dataclass
class Measured:
    """Tokens per second of each run, and the tokens that were proposed and accepted in all of them."""

    rates: list[float] = field(default_factory=list)
    proposed: int = 0
    accepted: int = 0


def widened(factor: int, folder: Path) -> Path:
    """Write the example with an MLP of `factor` times the width, whose further columns are zero."""
    shutil.copytree(EXAMPLE, folder)
    config = json.loads((folder / "config.json").read_text())
    width = config["intermediate_size"]
    config |= {"intermediate_size": width * factor, "torch_dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    import torch
    from safetensors.torch import load_file as load_torch_file

    tensors = {
        name: value.to(torch.float32).numpy() for name, value in load_torch_file(EXAMPLE / "model.safetensors").items()
    }
    for name, value in tensors.items():
        if ".mlp." in name:
            axis = 1 if "down_proj" in name else 0
            pads = [(0, 0), (0, 0)]
            pads[axis] = (0, width * (factor - 1))
            tensors[name] = np.pad(value, pads)
    save_file(tensors, folder / "model.safetensors")
    return folder


def cases(engine: archc.Engine) -> dict[str, tuple[list[int], list[int]]]:
    """Return prompts and answers by name."""
    assert engine.tokenizer is not None
    encode = engine.tokenizer.encode
    stories = [
        "".join(engine.stream(text, max_new_tokens=150)) for text in ("Once upon a time", "One day, a small dog")
    ]
    story = "Once upon a time" + stories[0]
    sentences = [sentence + "." for sentence in story.split(".") if sentence.strip()]
    summary = "The story: " + "".join(sentences[::2])
    edited = story.replace("quiet", "loud").replace("lake", "river").replace("She", "He").replace("Daisy", "Lily")
    return {
        "summary": (encode(story + "\n"), encode(summary)),
        "edit": (encode(story + "\n"), encode(edited)),
        "free text": (encode("One day, a small dog"), encode(stories[1])),
    }


def measure(
    engine: archc.Engine, prompt: list[int], answer: list[int], speculation: Speculation | None, found: Measured
) -> None:
    """Note the tokens per second after the first token."""
    sequences, row, sampler = engine.sequences(1), Row(len(answer), frozenset(), frozenset()), Forced(prompt, answer)
    sequences.reserve(len(prompt) + len(answer) + 16)
    prompts = np.array([prompt])
    speculator = speculation.open("auto") if speculation is not None else None
    if speculator is not None:
        noted = speculator.note

        def note(proposed: int, accepted: int) -> None:
            found.proposed, found.accepted = found.proposed + proposed, found.accepted + accepted
            noted(proposed, accepted)

        speculator.note = note  # type: ignore[method-assign]
        steps = decode_speculatively(sequences, prompts, row, sampler, speculator)
    else:
        steps = decode(token_source(sequences, [sampler]), prompts, [row])
    next(steps)
    begin = time.perf_counter()
    for _ in steps:
        continue
    found.rates.append((len(answer) - 1) / (time.perf_counter() - begin))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--plan", type=Path, help="target instead of the widened example, with its tokenizer")
    options.add_argument("--draft", type=Path, help="draft plan instead of the example in int4")
    options.add_argument("--factor", type=int, default=96, help="width of the target's MLP over that of the example")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--threads", type=int)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan, draft = chosen.plan, chosen.draft
        if plan is None:
            plan = archc.build("qwen2", weights=widened(chosen.factor, folder / "wide"), out=folder / "target.plan")
        if draft is None:
            draft = archc.build("qwen2", weights=EXAMPLE, out=folder / "draft.plan", quantize="int4")
        report(archc.load(plan, threads=chosen.threads, draft=draft), chosen.rounds)


def report(engine: archc.Engine, rounds: int) -> None:
    """Measure all cases in all modes, and print medians and ratios."""
    assert engine.draft is not None
    tasks = cases(engine)
    speculations = {"off": None, "lookup": Speculation(), "draft": engine.speculation}
    found = {(task, mode): Measured() for task in tasks for mode in MODES}
    for _ in range(rounds):
        for task, (prompt, answer) in tasks.items():
            for mode in MODES:
                measure(engine, prompt, answer, speculations[mode], found[task, mode])
    print(f"target {engine.manifest.parameters:,} parameters, draft {engine.draft.manifest.parameters:,}")
    for task, (prompt, answer) in tasks.items():
        base = statistics.median(found[task, "off"].rates)
        shown = [f"{base:.1f} tokens/s without"]
        for mode in MODES[1:]:
            one = found[task, mode]
            rate = statistics.median(one.rates)
            share = (
                f"{one.accepted / one.proposed:.0%} of {one.proposed // rounds} accepted" if one.proposed else "none"
            )
            shown.append(f"{rate:.1f} with {mode} ({rate / base:.2f} ×; {share})")
        print(f"{task:10} {len(prompt)} + {len(answer)} tokens: " + ", ".join(shown))
    for mode in MODES[1:]:
        costs = speculations[mode].costs  # type: ignore[union-attr]
        ratios = {width: costs.ratio(1, width) for width in (2, 4, 8, 16)}
        print(f"{mode}: a call of n tokens over one: " + ", ".join(f"{n}: {ratio:.2f}" for n, ratio in ratios.items()))
    engine.close()


if __name__ == "__main__":
    main()
