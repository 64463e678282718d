"""Opens a folder in optimum-onnx: PYTHON optimum_onnx.py FOLDER '[1,2,3]' COUNT decoder|encoder|encoder-decoder."""

import json
import sys
from importlib.metadata import version
from typing import Any

import optimum.onnxruntime as ort
import torch

folder, ids, count, kind = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
x = torch.tensor([ids])
inputs: dict[str, Any] = {"attention_mask": torch.ones_like(x)}
options: dict[str, Any] = {"max_new_tokens": count, "do_sample": False, "num_beams": 1}
if kind == "encoder-decoder":
    model = ort.ORTModelForSeq2SeqLM.from_pretrained(folder)
    model.generation_config.eos_token_id = model.generation_config.forced_eos_token_id = None
    out = model.generate(x, **inputs, **options)[0, -count:].tolist()
elif kind == "encoder":
    inputs |= {"input_ids": x, "token_type_ids": torch.zeros_like(x)}
    logits = ort.ORTModelForMaskedLM.from_pretrained(folder)(**inputs).logits
    hidden = ort.ORTModelForFeatureExtraction.from_pretrained(folder)(**inputs).last_hidden_state
    out = [*logits[0, -1, :8].tolist(), *hidden[0, -1, :8].tolist()]
else:
    model = ort.ORTModelForCausalLM.from_pretrained(folder, use_io_binding=False)
    model.generation_config.eos_token_id = None
    out = model.generate(x, **inputs, **options, pad_token_id=0)[0, x.shape[1] :].tolist()
print(json.dumps([version("optimum-onnx"), out]))
