# The first target you run sets up .venv; later ones only when pyproject.toml has changed.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test lint bench clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/make \1\t\2/' | expand -t 14

demo: .venv/.installed  ## watch a frozen CLIP learn a prompt, with nothing to download but packages
	$(BIN)/vlprompt demo

test: .venv/.installed  ## run the tests, two at a time
	$(BIN)/python -m pytest -n 2

lint: .venv/.installed  ## check style, types and layers
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.installed  ## measure speed and memory
	$(BIN)/python -m benchmarks.speed

clean:  ## remove .venv and caches; results under runs/ stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "vlprompt needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1 | tail -1)." \
	       "Name another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "setting up .venv (once; PyTorch is large, this can take some minutes)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[dev]"
	@touch $@
