# Two commands: `make run` shows a constrained query on the embedded demo model, `make test` runs the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: run test test-real lint docs bench dev clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[hf,serve,schema,dev]'
	touch $(STAMP)

dev: $(STAMP) build/dev/lmqlc

# mypy and pyright see the packages where an installation puts them.
build/dev/lmqlc:
	mkdir -p build/dev/lmqlc
	for name in lmqlc/*; do ln -sfn ../../../$$name build/dev/$$name; done
	for name in grammar compiler runtime backends; do ln -sfn ../../../$$name build/dev/lmqlc/$$name; done

run: $(STAMP)
	$(BIN)/lmqlc run examples/hello.lmql --stream

test: dev
	$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -q

# Real weights and engines, from the folder that LMQLC_REAL names: `python -m tests.real.prepare FOLDER` makes it.
test-real: dev
	$(BIN)/python -m pytest -q -m real tests

lint: dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy build/dev/lmqlc

docs: dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

bench: $(STAMP)
	$(BIN)/python -m benchmarks

clean:
	rm -rf build dist site *.egg-info .mypy_cache .pytest_cache .ruff_cache
