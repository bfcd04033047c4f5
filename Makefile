# Every target works on a fresh machine with Python 3.11 or later and make; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --disable-pip-version-check --quiet --constraint constraints.txt

.PHONY: help setup demo test test-slow test-slurm lint format bench clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 14

setup: $(VENV)/.installed  ## make .venv and install the package, exact versions

demo: $(VENV)/.installed  ## every method once on the embedded model and data: minutes, no GPU, no download; then the report of it
	$(BIN)/python -m peft_study +study=quickstart
	$(BIN)/python -m peft_study report multirun/quickstart --out multirun/quickstart/report

test: lint  ## lint, type-check and run the tests
	$(BIN)/python -m pytest -n 3 --dist worksteal

test-slow: $(VENV)/.installed-dev  ## the tests that take minutes
	$(BIN)/python -m pytest -m slow

test-slurm: $(VENV)/.installed-dev  ## the tests with a real Slurm on this machine: root and the packages of tests/slurm/node/README.md
	$(INSTALL) --editable '.[dev,slurm]'
	$(BIN)/python -m pytest -m slurm tests/slurm

lint: $(VENV)/.installed-dev  ## format check, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.installed-dev  ## format the code and mend what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.installed-dev  ## the benchmarks that need no GPU; figures go to benchmarks/results
	for name in training prediction generation codebleu execution retrieval intervals report_rows; do \
		OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks.$$name || exit 1; \
	done

clean:  ## remove .venv and caches; results stay
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing (torch and its relatives: a few minutes on a first run) ..."
	$(INSTALL) --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) --editable '.[dev]'
	@touch $@
