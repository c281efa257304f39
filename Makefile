# The two commands of the README: `make bench` and `make test`. Both install what is missing and are safe to repeat.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: bench test check install clean reference

bench: install
	@$(BIN)/glimpse sweep quick

test: check
	@$(BIN)/pytest -n 2 --doctest-modules tests src/glimpsebench

# Everything but the tests: lint, format, types, the direction of the imports.
check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "GlimpseBench needs Python 3.11 or newer; name one with: make PYTHON=python3.12")'
	@echo "Installing into .venv (a few minutes the first time) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

# Run a suite (make reference SUITE=estimators) and copy its results to results/, without the weights, and of the
# selections those of a few images of each row, for the page's pictures. What else is written from results (README, comparisons, the methods' pages) follows.
# DEVICE=cuda trains on a GPU.
SUITE ?= quick
DEVICE ?= cpu
FROM := runs/$(SUITE)
TO := results/$(SUITE)

reference: install
	@$(BIN)/glimpse sweep $(SUITE) --device $(DEVICE)
	@rm -rf $(TO) && mkdir -p $(TO)
	@cp -r $(FROM)/. $(TO)/
	@rm -f $(TO)/report.html
	@$(BIN)/python -c 'import pathlib; from glimpsebench.bench.report import looks; looks.keep_all(pathlib.Path("$(TO)"))'
	@find $(TO) '(' -name 'weights*.safetensors' -o -name selections.npz ')' -delete
	@$(BIN)/glimpse retabulate results
	@$(BIN)/glimpse methods

clean:
	rm -rf .venv runs build *.egg-info
