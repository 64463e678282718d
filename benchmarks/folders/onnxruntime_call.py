"""Runs one call of a graph in onnxruntime: PYTHON onnxruntime_call.py GRAPH CALL.npz; prints the largest difference.

The file has inputs by name, and expected outputs as `=name`.
"""

import sys

import numpy as np
import onnxruntime as ort

graph, call = sys.argv[1:3]
options = ort.SessionOptions()
options.log_severity_level = 4
session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
values = dict(np.load(call))
names = [name for name in values if name.startswith("=")]
outputs = session.run([name[1:] for name in names], {name: values[name] for name in values if name not in names})
differences = [np.abs(output - values[name]).max() for name, output in zip(names, outputs, strict=True)]
print(f"{max(differences):.0e}")
