"""Run real clients against `archc serve`: curl, and openai, langchain-openai and litellm for Python, openai for Node.

    python -m venv DIR && DIR/bin/pip install openai langchain-openai litellm
    npm install --prefix DIR openai
    python -m benchmarks.clients.run --python DIR/bin/python --node DIR > transcript.txt

Serves the trained example, with a chat template that has tools, and a tiny encoder. Every client checks its answers;
the exit code is 1 if one of them fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archc.compiler.build import build
from tests.compiler.weights.checkpoint.sentence_folders import write_sentence_transformer

HERE = Path(__file__).parent
EXAMPLE = HERE.parents[1] / "examples/tiny-qwen2"


def plans(folder: Path) -> list[str]:
    """Build a decoder whose chat format has tools, and an encoder."""
    checkpoint = folder / "checkpoint"
    shutil.copytree(EXAMPLE, checkpoint)
    config = json.loads((checkpoint / "tokenizer_config.json").read_text("utf-8"))
    template = checkpoint / "chat_template.jinja"
    text = template.read_text("utf-8") if template.is_file() else config["chat_template"]
    template.write_text("{#- <tool_call> </tool_call> -#}" + text, "utf-8")
    write_sentence_transformer(folder, "mean", True)
    tiny = build("qwen2", checkpoint, out=folder / "tiny.plan")
    words = build(folder / "sentences", out=folder / "words.plan")
    return [str(tiny), str(words)]


@contextmanager
def served(arguments: list[str]) -> Iterator[str]:
    command = [sys.executable, "-m", "archc", "serve", *arguments, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if found := re.search(r"http://\S+", line):
                yield found[0]
                break
        else:
            raise SystemExit("the server has not started")
    finally:
        process.terminate()
        process.wait()


def curl(url: str) -> int:
    """Run the requests of curl, each with a part of its answer that is expected."""
    chat = {"model": "tiny", "messages": [{"role": "user", "content": "What is 12+30?"}]}
    requests: list[tuple[str, dict[str, object] | None, str]] = [
        ("/models", None, '"id":"words"'),
        ("/chat/completions", chat, '"content":"42"'),
        ("/chat/completions", {**chat, "stream": True}, "data: [DONE]"),
        ("/completions", {"model": "tiny", "prompt": "37+85=", "max_tokens": 4}, '"text":"122"'),
        ("/embeddings", {"model": "words", "input": "w1 w2", "dimensions": 2}, '"embedding":['),
        ("/rerank", {"model": "words", "query": "w1", "documents": ["w9", "w1 w1"], "top_n": 1}, '"index":1'),
        ("/responses", {"model": "tiny", "input": "What is 12+30?", "stream": True}, "event: response.completed"),
        ("/chat/completions", {**chat, "temperature": -1}, '"param":"temperature"'),
    ]
    failed = 0
    for path, body, expected in requests:
        data = ["-d", json.dumps(body)] if body is not None else []
        print(f"$ curl {path} {' '.join(data)}", flush=True)
        answer = subprocess.run(["curl", "-sSN", url + path, *data], capture_output=True, text=True).stdout  # noqa: S607
        shown = answer.replace("\n\n", "\n").strip()
        print(shown if len(shown) < 600 else f"{shown[:300]} … {shown[-200:]}")
        if expected not in answer:
            failed += 1
            print(f"FAILED: no {expected}")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default=sys.executable, help="a Python with the clients")
    parser.add_argument("--node", type=Path, help="a folder with node_modules/openai")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, served(plans(Path(folder))) as url:
        print("== curl")
        failed = curl(url)
        sys.stdout.flush()
        commands = [[options.python, str(HERE / "clients.py"), url]]
        if options.node is not None:
            script = options.node / "clients.mjs"  # modules are found from the folder of a script
            shutil.copy(HERE / "clients.mjs", script)
            commands.append(["node", str(script), url])
        quiet = {**os.environ, "LANGSMITH_TRACING": "false", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        for command in commands:
            failed += subprocess.run(command, env=quiet).returncode != 0
    print("FAILED" if failed else "all clients agree")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
