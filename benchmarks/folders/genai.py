"""Opens a folder of a decoder in onnxruntime-genai: PYTHON genai.py FOLDER '[1,2,3]' COUNT decoder."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import onnxruntime_genai as og

folder, ids, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
if not (Path(folder) / "genai_config.json").exists():
    sys.exit("no genai_config.json")
vocab = json.loads((Path(folder) / "genai_config.json").read_bytes())["model"]["vocab_size"]


def generate(end: int) -> list[int]:
    """Return greedy tokens after the prompt; token `end` ends the text."""
    config = og.Config(folder)
    config.overlay(json.dumps({"model": {"eos_token_id": end}}))
    model = og.Model(config)
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=len(ids) + count, do_sample=False)
    generator = og.Generator(model, params)
    generator.append_tokens(ids)
    while not generator.is_done():
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)][len(ids) :]


# The token that ends the text must be one of the vocabulary, and is left out of it: the last one that is not generated.
out = next(out for end in reversed(range(vocab)) if len(out := generate(end)) == count)
print(json.dumps([version("onnxruntime-genai"), out]))
