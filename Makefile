# Needs Python 3.11 or later with venv, git and make; everything else comes into .venv from requirements/dev.txt.
PYTHON ?= python3
PYTEST_ARGS ?= -n 2
BENCH_ARGS ?=
KILLS_ARGS ?=
LARGE_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PINS := requirements/dev.txt

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test check bench kills large faults materials setup lock clean

help: ## print this list
	@echo "uprez: make ..."
	@sed -nE 's/^([a-z]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST)

demo: setup materials ## upscale two seconds of a real video here and check the result
	@$(BIN)/python tools/demo.py

test: setup materials ## run the tests (PYTEST_ARGS="-k decode -x" chooses)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: setup materials ## all that CI runs: format, lint, types, import contracts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir .cache/import-linter
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: setup materials ## time the network (BENCH_ARGS="--write docs/benchmarks.md" keeps the table)
	$(BIN)/python tools/bench.py $(BENCH_ARGS)

kills: setup materials ## kill worker and controller at random moments (KILLS_ARGS="--write docs/kills.md" keeps the table)
	$(BIN)/python tools/kills.py $(KILLS_ARGS)

faults: setup materials ## every fault of the store at every kind of request, one by one
	UPREZ_ALL_FAULTS=1 $(BIN)/python -m pytest -n 2 -k fault_of_the_store tests/e2e/test_buckets.py

large: setup materials ## 12 GB, 5 GB and a byte, 20,000 objects (LARGE_ARGS="--write docs/large.md" keeps the table)
	$(BIN)/python tools/large.py $(LARGE_ARGS)

materials: setup
	@$(BIN)/python tools/materials.py

setup: $(VENV)/.ready ## make .venv with the pinned tools

# A stamp is written last, so that an interrupted setup is done again from the start.
$(VENV)/.pinned: $(PINS)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "uprez needs Python 3.11 or later; '$(PYTHON)' says: $$($(PYTHON) --version 2>&1)." >&2; \
	echo "Name another one, for example: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	echo "'$(PYTHON)' has no venv or no ensurepip, so it cannot make $(VENV)." >&2; \
	echo "On Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	rm -rf $(VENV)
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-hashes -r $(PINS)
	@touch $@

$(VENV)/.ready: $(VENV)/.pinned pyproject.toml
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

lock: setup ## resolve requirements/dev.txt again, for Python 3.11 and later
	$(PIP) install --quiet 'uv>=0.13'
	UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip compile --universal --python-version 3.11 --upgrade --extra dev \
	  --generate-hashes --no-header --no-annotate --no-emit-index-url --no-emit-find-links \
	  --quiet --output-file $(PINS) pyproject.toml
	@! grep -n '://' $(PINS) || { echo "$(PINS) names a host: see the line above" >&2; exit 1; }

clean: ## remove what make made
	rm -rf $(VENV) .cache demo dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name .git -prune -o -type d -name __pycache__ -exec rm -rf {} +
