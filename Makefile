# The two commands of the README: `make demo` and `make test`. Each sets up .venv first.
# Tests run in JOBS processes, each file in one of them.

PYTHON ?= python3
BIN := .venv/bin
JOBS ?= 2

.PHONY: setup demo test lint clean

setup: .venv/complete

.venv/complete: requirements.txt setup.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: setup
	$(BIN)/python -m deeplab_load.main --dataset=shapes --flagfile=flags/demo.cfg --run_dir=runs/demo

test: lint
	$(BIN)/python -m pytest --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache
