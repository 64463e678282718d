"""Opens a folder of a decoder in onnxruntime-genai: PYTHON genai.py FOLDER '[1,2,3]' COUNT decoder."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import onnxruntime_genai as og

folder, ids, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
if not (Path(folder) / "genai_config.json").exists():
    sys.exit("no genai_config.json")
model = og.Model(folder)
params = og.GeneratorParams(model)
params.set_search_options(max_length=len(ids) + count, min_length=len(ids) + count, do_sample=False)
generator = og.Generator(model, params)
generator.append_tokens(ids)
while not generator.is_done():
    generator.generate_next_token()
out = [int(token) for token in generator.get_sequence(0)][len(ids) :]
print(json.dumps([version("onnxruntime-genai"), out]))
