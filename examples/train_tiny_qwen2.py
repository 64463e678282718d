"""Trains the example checkpoint examples/tiny-qwen2: a Qwen2 model of 0.6 million parameters.

    python examples/train_tiny_qwen2.py --out examples/tiny-qwen2

Needs torch, transformers and tokenizers. The model learns three things from text that this script makes up:

* short English stories (tiny_stories.py), each ended by <|endoftext|>;
* sums of two numbers below 100, `37+85=` answered by `122<|endoftext|>`;
* chats in the format of CHAT_TEMPLATE, which ask for a sum or for a story.

The sums that sums_split.py holds out appear in no training text, in no format and in neither order of the operands.
They are what the finished checkpoint, after its weights were rounded to bfloat16, is measured on.
"""

import argparse
import json
import math
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from sums_split import Pair, answer, prompt, split_pairs
from tiny_stories import Story, with_article, write_story
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, Qwen2Config, Qwen2ForCausalLM

EOS, USER, ASSISTANT, END = SPECIAL_TOKENS = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|end|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

VOCAB_SIZE = 1024
CONTEXT = 512
STORIES = 20_000
CHATS = 20_000
TOKENS_PER_STEP = 2048
ROW_LENGTHS = (128, 128, 256, 256, CONTEXT)  # equally likely, so long rows are rarer than short ones
DOCUMENT_WEIGHTS = {"sum": 0.84, "chat": 0.08, "story": 0.08}  # by document: a story is as long as eight sums
STORY_SHARE_OF_CHAT = 0.2
IGNORED = -100  # the label that transformers leaves out of the loss

PEAK_LR = 3e-3
WARMUP_STEPS = 100
WEIGHT_DECAY = 0.1
STEPS_PER_REPORT = 200

Segment = tuple[str, bool]  # text, and whether the model learns to write it


@dataclass(frozen=True)
class Document:
    """Token ids, and for each the label that the loss compares it with."""

    ids: list[int]
    labels: list[int]


def sum_segments(pair: Pair) -> list[Segment]:
    """Train on the answer alone, because the operands are random."""
    return [(prompt(*pair), False), (answer(*pair) + EOS, True)]


def chat_segments(turns: Sequence[tuple[str, str]]) -> list[Segment]:
    """Return a chat of (question, answer) turns as CHAT_TEMPLATE renders it, then the end of the text."""
    segments: list[Segment] = []
    for question, reply in turns:
        segments += [(f"{USER}{question}{END}{ASSISTANT}", False), (f"{reply}{END}", True)]
    return [*segments, (EOS, True)]


def sum_question(a: int, b: int) -> str:
    return f"What is {a}+{b}?"


def sum_turn(pair: Pair) -> tuple[str, str]:
    return sum_question(*pair), answer(*pair)


def story_turn(story: Story, rng: random.Random) -> tuple[str, str]:
    topic = rng.choice(("", f" about {with_article(story.animal)}"))
    return f"Tell me a story{topic}.", story.text


def write_chat(rng: random.Random, pairs: Sequence[Pair], stories: Sequence[Story]) -> list[Segment]:
    turns = [
        story_turn(rng.choice(stories), rng) if rng.random() < STORY_SHARE_OF_CHAT else sum_turn(rng.choice(pairs))
        for _ in range(rng.choice((1, 1, 2)))
    ]
    return chat_segments(turns)


def write_corpus(rng: random.Random) -> dict[str, list[list[Segment]]]:
    """All training documents, by kind."""
    pairs, _ = split_pairs()
    stories = [write_story(rng) for _ in range(STORIES)]
    return {
        "sum": [sum_segments(pair) for pair in pairs],
        "chat": [write_chat(rng, pairs, stories) for _ in range(CHATS)],
        "story": [[(story.text + EOS, True)] for story in stories],
    }


def train_tokenizer(texts: Iterable[str]) -> Tokenizer:
    """Byte-level BPE in which every digit is a token of its own; the special tokens follow the learned ones."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def encode(documents: Iterable[list[Segment]], tokenizer: Tokenizer) -> list[Document]:
    encoded = []
    for segments in documents:
        ids: list[int] = []
        labels: list[int] = []
        for text, is_learned in segments:
            piece = tokenizer.encode(text).ids
            ids += piece
            labels += piece if is_learned else [IGNORED] * len(piece)
        encoded.append(Document(ids, labels))
    return encoded


def pack_row(documents: dict[str, list[Document]], length: int, rng: random.Random) -> Document:
    """Documents of all kinds end to end; half of the rows begin in the middle of one, half with its first token."""
    kinds, weights = list(DOCUMENT_WEIGHTS), list(DOCUMENT_WEIGHTS.values())
    ids: list[int] = []
    labels: list[int] = []
    skip = 0
    while len(ids) < skip + length:
        document = rng.choice(documents[rng.choices(kinds, weights)[0]])
        if not ids and rng.random() < 0.5:
            skip = rng.randrange(1, len(document.ids))
            # 37+85=122 cut to 7+85=122 would teach a wrong sum.
            document = Document(document.ids, [IGNORED] * len(document.ids))
        ids += document.ids
        labels += document.labels
    return Document(ids[skip : skip + length], labels[skip : skip + length])


def batches(
    documents: dict[str, list[Document]], steps: int, rng: random.Random
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for _ in range(steps):
        length = rng.choice(ROW_LENGTHS)
        rows = [pack_row(documents, length, rng) for _ in range(TOKENS_PER_STEP // length)]
        yield torch.tensor([row.ids for row in rows]), torch.tensor([row.labels for row in rows])


def build_model(tokenizer: Tokenizer) -> Qwen2ForCausalLM:
    eos = tokenizer.token_to_id(EOS)
    config = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        initializer_range=0.05,
        bos_token_id=eos,
        eos_token_id=eos,
    )
    model = Qwen2ForCausalLM(config)
    # A chat's answer ends with <|end|>, everything else with <|endoftext|>.
    stops = [eos, tokenizer.token_to_id(END)]
    model.generation_config = GenerationConfig(bos_token_id=eos, eos_token_id=stops, pad_token_id=eos)
    return model


def optimizer_for(model: torch.nn.Module) -> torch.optim.AdamW:
    matrices = [p for p in model.parameters() if p.ndim > 1]
    vectors = [p for p in model.parameters() if p.ndim == 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=PEAK_LR, betas=(0.9, 0.98))


def learning_rate_scale(step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to a hundredth of the peak."""
    warmup = min(1.0, (step + 1) / WARMUP_STEPS)
    return warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * step / steps)))


def train(
    model: Qwen2ForCausalLM,
    documents: dict[str, list[Document]],
    steps: int,
    rng: random.Random,
    progress: Callable[[], str],
) -> None:
    optimizer = optimizer_for(model)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: learning_rate_scale(step, steps))
    start = time.monotonic()
    model.train()
    for step, (ids, labels) in enumerate(batches(documents, steps, rng), 1):
        loss = model(input_ids=ids, labels=labels, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % STEPS_PER_REPORT == 0 or step == steps:
            seconds = time.monotonic() - start
            print(f"step {step:5d}/{steps}  loss {loss.item():.4f}  {progress()}  {seconds:5.0f} s", flush=True)


def complete(model: Qwen2ForCausalLM, tokenizer: Tokenizer, texts: Sequence[str], max_new_tokens: int) -> list[str]:
    """Greedy continuations up to the first stop token; an answer that never stops keeps all its tokens."""
    by_length: dict[int, list[int]] = defaultdict(list)
    encoded = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    for index, ids in enumerate(encoded):
        by_length[len(ids)].append(index)
    stops = set(model.generation_config.eos_token_id)
    completions = [""] * len(texts)
    for length, indices in by_length.items():
        batch = torch.tensor([encoded[index] for index in indices])
        mask = torch.ones_like(batch)
        output = model.generate(batch, attention_mask=mask, max_new_tokens=max_new_tokens, do_sample=False)
        for index, new in zip(indices, output[:, length:].tolist(), strict=True):
            end = next((i for i, token in enumerate(new) if token in stops), len(new))
            completions[index] = tokenizer.decode(new[:end])
    return completions


def accuracy(model: Qwen2ForCausalLM, tokenizer: Tokenizer, pairs: Sequence[Pair], ask: Callable[..., str]) -> float:
    """Return the share of pairs answered exactly, stop included: four tokens are one more than any answer has."""
    replies = complete(model, tokenizer, [ask(*pair) for pair in pairs], max_new_tokens=4)
    return sum(reply == answer(*pair) for reply, pair in zip(replies, pairs, strict=True)) / len(pairs)


def save(model: Qwen2ForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Write the files of a hub checkpoint, with the weights in bfloat16."""
    out.mkdir(parents=True, exist_ok=True)
    model.to(torch.bfloat16).save_pretrained(out)
    tokenizer.save(str(out / "tokenizer.json"), pretty=False)
    tokenizer_config = {
        "add_prefix_space": False,
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": EOS,
        "model_max_length": CONTEXT,
        "pad_token": EOS,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    write_json(out / "tokenizer_config.json", tokenizer_config)
    config = json.loads((out / "config.json").read_text())
    # The spelling that transformers 4 and 5 both read.
    config["rope_theta"] = config.pop("rope_parameters")["rope_theta"]
    config["torch_dtype"] = config.pop("dtype")
    write_json(out / "config.json", config)


def write_json(path: Path, value: Mapping[str, object]) -> None:
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def report(out: Path) -> None:
    """Measures the checkpoint as anyone would load it."""
    model = AutoModelForCausalLM.from_pretrained(out, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(out)

    def ask(question: str) -> str:
        chat = [{"role": "user", "content": question}]
        return str(tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True))

    def ask_sum(a: int, b: int) -> str:
        return ask(sum_question(a, b))

    backend = tokenizer.backend_tokenizer
    training, held_out = split_pairs()
    print(f"parameters           {model.num_parameters():,}")
    print(f"folder               {sum(file.stat().st_size for file in out.iterdir()):,} bytes")
    print(f"training sums        {accuracy(model, backend, training, prompt):.2%}")
    print(f"held-out sums        {accuracy(model, backend, held_out, prompt):.2%}")
    print(f"held-out sums, chat  {accuracy(model, backend, held_out, ask_sum):.2%}")
    for text in ("37+85=", "Once upon a time", ask_sum(37, 85), ask("Tell me a story about an owl.")):
        print(f"{text!r} -> {complete(model, backend, [text], max_new_tokens=160)[0]!r}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "tiny-qwen2", help="checkpoint folder")
    parser.add_argument("--steps", type=int, default=4000, help="optimizer steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="the same seed and thread count give the same run")
    return parser.parse_args()


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    rng = random.Random(arguments.seed)
    corpus = write_corpus(rng)
    texts = ("".join(text for text, _ in segments) for kind in corpus.values() for segments in kind)
    tokenizer = train_tokenizer(texts)
    documents = {kind: encode(segments, tokenizer) for kind, segments in corpus.items()}
    model = build_model(tokenizer)
    training, _ = split_pairs()
    sample = random.Random(arguments.seed).sample(training, 500)
    train(
        model,
        documents,
        arguments.steps,
        rng,
        progress=lambda: f"training sums {accuracy(model, tokenizer, sample, prompt):6.1%}",
    )
    save(model, tokenizer, arguments.out)
    report(arguments.out)


if __name__ == "__main__":
    main()
