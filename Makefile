# `make demo` and `make test` need Python (>= 3.10) and make; they set up .venv themselves.
PYTHON ?= python3
BIN := .venv/bin
export TRANSNAS_DATA ?= $(abspath ../shared/data)
export OMP_NUM_THREADS ?= 2

.PHONY: demo test test-all check lock clean

demo: .venv/installed  ## search digits for real, then a table with help from two others; writes demo/
	$(BIN)/python examples/demo.py demo

test test-all: export OMP_NUM_THREADS := 1  # two processes with two threads each would wait in turn

test: .venv/installed  ## the tests that take minutes
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

test-all: .venv/installed  ## every test
	$(BIN)/python -m pytest -n 2 --dist worksteal

check: .venv/installed  ## lint, format, types, import rule
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

lock: .venv/installed  ## renew requirements.lock from pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.10 pyproject.toml --all-extras \
		--group dev --no-annotate --no-header -o requirements.lock

.venv/installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -r requirements.lock
	$(BIN)/pip install -q --no-deps -e .
	touch $@

clean:
	rm -rf .venv demo build dist *.egg-info
