# Everything runs in a virtual environment of its own; nothing outside this folder is touched.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
WORKERS ?= auto

.PHONY: demo test check format clean

demo: $(VENV)/installed
	$(BIN)/archc build specs/qwen2.yaml --weights examples/tiny-qwen2 -o engine.plan
	$(BIN)/archc run engine.plan --prompt "Once upon a time" --max-new-tokens 80
	$(BIN)/archc run engine.plan --prompt "37+85="
	$(BIN)/archc run engine.plan --chat --prompt "What is 12+30?"

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[cpu,build]"
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable ".[cpu,build,dev]"
	touch $@

clean:
	rm -rf $(VENV) engine.plan
