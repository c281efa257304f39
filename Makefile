# The two commands of the README: `make bench` and `make test`. Both install what is missing and are safe to repeat.

PYTHON ?= python3
# Another package index beside the usual one, such as that of PyTorch's builds without CUDA.
TORCH_INDEX ?=
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
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) --editable '.[dev]'
	@touch $@

# Run a suite (make reference SUITE=estimators) and copy its records and tables to the store that is committed, without
# weights and, but for a few images of each row, selections; other suites' records stay. What else is written from
# results (README, comparisons, the methods' pages) follows. DEVICE=cuda trains on a GPU. RUNS and RESULTS are the two
# stores.
SUITE ?= quick
DEVICE ?= cpu
RUNS ?= runs
RESULTS ?= results

reference: install
	@$(BIN)/glimpse sweep $(SUITE) --root $(RUNS) --device $(DEVICE)
	@$(BIN)/glimpse publish $(SUITE) --root $(RUNS) --into $(RESULTS)
	@$(BIN)/glimpse retabulate $(RESULTS)
	@$(BIN)/glimpse methods --results $(RESULTS)

clean:
	rm -rf .venv runs build *.egg-info
