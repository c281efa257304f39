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

# Copy the quick suite's results to results/quick, from where the README shows them.
reference: bench
	@rm -rf results/quick && mkdir -p results/quick
	@cp -r runs/quick/records runs/quick/leaderboard.md runs/quick/leaderboard.csv runs/quick/curve.png runs/quick/curve.pdf runs/quick/gallery.png results/quick/
	@find results/quick -name weights.safetensors -delete
	@$(BIN)/glimpse leaderboard --root results/quick --title "Digits among clutter, 32×32" --into README.md

clean:
	rm -rf .venv runs build *.egg-info
