"""Opens a folder in OpenVINO: PYTHON openvino_cpu.py FOLDER '[1,2,3]' COUNT decoder|encoder|encoder-decoder START."""

import json
import sys
from typing import Any

import numpy as np
import openvino as ov

folder, ids, count, kind = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
core = ov.Core()


class Graph:
    """A compiled graph: inputs that it does not have are left out, and past ones begin with zeros."""

    def __init__(self, name: str) -> None:
        graph = core.read_model(f"{folder}/{name}.onnx")
        self.model = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self.inputs = {name: item for item in self.model.inputs for name in item.get_names()}
        self.past = {name: self._zeros(item) for name, item in self.inputs.items() if name.startswith("past_")}

    def _zeros(self, item: Any) -> Any:
        sizes = [0 if size.is_dynamic else size.get_length() for size in list(item.partial_shape)[1:]]
        return np.zeros([1, *sizes], item.element_type.to_dtype())

    def run(self, **feeds: Any) -> dict[str, Any]:
        """Return the outputs by name; those of states are the next call's."""
        result = self.model({name: value for name, value in feeds.items() if name in self.inputs} | self.past)
        outputs = {name: result[item] for item in self.model.outputs for name in item.get_names()}
        for name in self.past:
            present = name.replace("past_key_values", "present").replace("past_", "present_")
            self.past[name] = outputs[present].copy()
        return outputs


def ones(length: int) -> Any:
    """Return a mask of one row."""
    return np.ones((1, length), np.int64)


if kind == "encoder":
    x = np.array([ids])
    outputs = Graph("model").run(input_ids=x, attention_mask=ones(len(ids)), token_type_ids=np.zeros_like(x))
    out = [*outputs["logits"][0, -1, :8].tolist(), *outputs["last_hidden_state"][0, -1, :8].tolist()]
else:
    call, length, out, fixed = ids, 0, [], dict[str, Any]()
    decoder = Graph("model" if kind == "decoder" else "decoder_model_merged")
    if kind == "encoder-decoder":
        hidden = Graph("encoder_model").run(input_ids=np.array([ids]), attention_mask=ones(len(ids)))
        fixed = {"encoder_attention_mask": ones(len(ids)), "encoder_hidden_states": hidden["last_hidden_state"]}
        call = json.loads(sys.argv[5])
    for _ in range(count):
        positions = np.arange(length, length + len(call))[None]
        branch = {"use_cache_branch": np.array([length > 0])}
        length += len(call)
        outputs = decoder.run(
            input_ids=np.array([call]), attention_mask=ones(length), position_ids=positions, **branch, **fixed
        )
        call = [int(outputs["logits"][0, -1].argmax())]
        out += call
print(json.dumps([ov.__version__.split("-")[0], out]))
