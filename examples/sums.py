"""Runs the example model's held-out sums through a compiled plan: python examples/sums.py PLAN.

Prints the share answered right and exits with 1 where it is below the threshold.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from sums_split import Pair, answer, prompt, split_pairs

import archc

THRESHOLD = 0.95
BATCH_SIZE = 64
MAX_NEW_TOKENS = 4  # one more than the longest answer, so that a model has to stop by itself
END_OF_TEXT = "<|endoftext|>"


def batched(pairs: Sequence[Pair], size: int) -> Iterator[Sequence[Pair]]:
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def replies(engine: archc.Engine, pairs: Sequence[Pair]) -> list[str]:
    prompts = [engine.tokenizer.encode(prompt(*pair)) for pair in pairs]
    outputs = engine.generate(prompts, max_new_tokens=MAX_NEW_TOKENS)
    return [engine.tokenizer.decode(ids).removesuffix(END_OF_TEXT) for ids in outputs]


def count_right(engine: archc.Engine, pairs: Sequence[Pair]) -> int:
    return sum(reply == answer(*pair) for pair, reply in zip(pairs, replies(engine, pairs), strict=True))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("plan", help="what archc.load takes")
    parser.add_argument("--batch-size", type=int, default=BATCH_SIZE)
    return parser.parse_args()


def main() -> int:
    arguments = parse_arguments()
    engine = archc.load(arguments.plan)
    _, held_out = split_pairs()
    right = sum(count_right(engine, batch) for batch in batched(held_out, arguments.batch_size))
    share = right / len(held_out)
    print(f"{right} of {len(held_out)} held-out sums right ({share:.2%})")
    return 0 if share >= THRESHOLD else 1


if __name__ == "__main__":
    sys.exit(main())
