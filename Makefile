# Everything runs in a virtual environment of its own; nothing outside this folder is touched.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
WORKERS ?= auto
PIP_INSTALL := $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable
PYTEST := $(BIN)/python -m pytest -n $(WORKERS)

.PHONY: demo test test-fast test-all test-nightly test-runtimes check format docs clean

demo: $(VENV)/installed
	@echo "A plan of the example checkpoint, a story, a sum, and a question with the chat template:"
	$(BIN)/archc build specs/qwen2.yaml --weights examples/tiny-qwen2 -o engine.plan
	$(BIN)/archc run engine.plan --prompt "Once upon a time" --max-new-tokens 80
	$(BIN)/archc run engine.plan --prompt "37+85="
	$(BIN)/archc run engine.plan --chat --prompt "What is 12+30?"

# All tests but the slow ones.
test: $(VENV)/installed-dev
	$(PYTEST) -m "not slow and not runtimes"

# Under a minute on two cores, for use while writing: no families, no TensorRT, no tokenizers, checkpoint files or tracing.
test-fast: $(VENV)/installed-dev
	$(PYTEST) -m "not slow and not runtimes" tests/archspec tests/compiler tests/runtime \
	    --ignore tests/compiler/output/tensorrt --ignore tests/compiler/text --ignore tests/compiler/tracing \
	    --ignore tests/compiler/weights/checkpoint --ignore tests/compiler/weights/packings \
	    --ignore tests/compiler/contract --ignore tests/runtime/text

# The tests that are marked slow: witnesses of what rarely changes.
test-nightly: $(VENV)/installed-dev
	$(PYTEST) -m slow

# Folders of `--target onnx-hf` in runtimes with environments of their own: Node, and a Python whose transformers is
# older. Chromium comes from the system.
test-runtimes: $(VENV)/installed-dev
	$(PYTHON) -m venv build/runtimes/optimum
	build/runtimes/optimum/bin/python -m pip install --quiet "optimum-onnx[onnxruntime]==0.1.0"
	npm install --silent --ignore-scripts --prefix build/runtimes/node @huggingface/transformers@4.3.2 onnxruntime-web
	$(BIN)/python -m pytest -m runtimes tests/runtimes

# On every interpreter that archc supports and this machine has.
test-all:
	$(PYTHON) scripts/interpreters.py --workers $(WORKERS)

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/codespell
	$(BIN)/python scripts/prose.py

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The site, in build/site; a link or an anchor that does not exist is an error.
docs: $(VENV)/installed-docs
	$(BIN)/python -m website build/docs
	$(BIN)/zensical build --strict

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing archc with PyTorch and ONNX Runtime into $(VENV); the first time takes some minutes."
	$(PIP_INSTALL) ".[cpu,build]"
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing what the tests need."
	$(PIP_INSTALL) ".[cpu,build,dev]"
	touch $@

$(VENV)/installed-docs: $(VENV)/installed
	@echo "Installing what the site needs."
	$(PIP_INSTALL) ".[cpu,docs]"
	touch $@

clean:
	rm -rf $(VENV) build engine.plan
