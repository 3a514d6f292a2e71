# Needs Python 3.11 or later with venv, git and make; everything else comes into .venv from requirements/dev.txt.
PYTHON ?= python3
PYTEST_ARGS ?= -n 4 --maxschedchunk 1
BENCH_ARGS ?=
KILLS_ARGS ?=
LARGE_ARGS ?=
MEMORY_ARGS ?=
FUZZ_ARGS ?=
MATRIX_ARGS ?=
LIKENESS_ARGS ?=

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PINS := requirements/dev.txt
WORKER_PINS := src/uprez/market/pins
WHEELHOUSE := .cache/wheelhouse

# The tests start hundreds of processes: what is compiled once serves them all, whatever the shell's own Pythons do.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo demo-cloud test check bench kills large memory media-matrix likeness fuzz longer fleet guards faults live materials wheelhouse setup lock pins clean

help: ## print this list
	@echo "uprez: make ..."
	@sed -nE 's/^([a-z-]+):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST)

demo: setup materials ## upscale two seconds of a real video here and check the result
	@$(BIN)/python tools/demo.py

demo-cloud: setup materials wheelhouse ## the same on machines rented from a practice market, with a bucket and a bill
	@$(BIN)/python tools/demo_cloud.py

test: setup materials wheelhouse ## run the tests (PYTEST_ARGS="-k decode -x" chooses)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

check: setup materials wheelhouse ## all that CI runs: format, lint, types, import contracts, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --cache-dir .cache/import-linter
	$(BIN)/python -m pytest $(PYTEST_ARGS)

bench: setup materials ## uprez beside its peers and the machine's limits (BENCH_ARGS="--write docs/benchmarks.md" keeps the tables)
	$(BIN)/python tools/bench.py $(BENCH_ARGS)

kills: setup materials ## kill worker and controller at random moments and at every call (KILLS_ARGS="--write docs/kills.md" keeps the table)
	UPREZ_LONG=kills $(BIN)/python -m pytest $(PYTEST_ARGS) -m long tests/e2e
	$(BIN)/python tools/kills.py $(KILLS_ARGS)

faults: setup materials ## every fault of the store at every kind of request, one by one
	UPREZ_LONG=faults $(BIN)/python -m pytest $(PYTEST_ARGS) -m long tests/e2e/test_buckets.py

large: setup materials ## 12 GB, 5 GB and a byte, 20,000 objects (LARGE_ARGS="--write docs/large.md" keeps the table)
	$(BIN)/python tools/large.py $(LARGE_ARGS)

memory: setup materials ## 20,000 frames in one process, and 1080p to 4K in 2 GiB (MEMORY_ARGS="--write docs/memory.md" keeps the table)
	$(BIN)/python tools/memory.py $(MEMORY_ARGS)

media-matrix: setup ## clips of every kind by Debian's ffmpeg through enhance (MATRIX_ARGS="--write docs/media-matrix.md" keeps the table)
	$(BIN)/python tools/media_matrix.py $(MATRIX_ARGS)

likeness: setup materials ## good clips that are hard to judge, and wrong pictures (LIKENESS_ARGS="--write docs/likeness.md" keeps the tables)
	$(BIN)/python tools/likeness.py $(LIKENESS_ARGS)

fuzz: setup ## 10,000 damaged small videos through probe and decode (FUZZ_ARGS="--write docs/fuzz.md" keeps the table)
	$(BIN)/python tools/fuzz.py $(FUZZ_ARGS)

longer: setup materials wheelhouse ## the tests that the suite leaves out, since it takes a sample of their kind
	UPREZ_LONG=longer $(BIN)/python -m pytest $(PYTEST_ARGS) -m long tests

fleet: setup materials wheelhouse ## 200 batches foreseen and played, 300 storms, 110 runs and 200 leases in virtual time, long runs of the verbs
	UPREZ_LONG=fleet $(BIN)/python -m pytest $(PYTEST_ARGS) tests/fleet/test_outlook.py tests/fleet/test_crews.py tests/fleet/test_seasons.py tests/fleet/test_storms.py tests/e2e/test_verbs.py tests/e2e/test_detach.py

guards: setup materials ## guards taken out of copies of uprez, and the tests that must then fail
	$(BIN)/python tools/guards.py

live: setup materials ## rent on the real Vast.ai, at most 0.05 USD, and note its answers (UPREZ_LIVE=yes; asks first)
	$(BIN)/python tools/live.py

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

# What a rented machine needs of the index, once: the tests of a boot from nothing take it from here.
wheelhouse: $(WHEELHOUSE)/.ready ## fetch the pinned packages of a machine without a GPU into .cache/wheelhouse

$(WHEELHOUSE)/.ready: $(WORKER_PINS)/cpu.txt | $(VENV)/.ready
	rm -rf $(WHEELHOUSE)
	$(PIP) download --quiet --no-deps --only-binary=:all: --require-hashes --dest $(WHEELHOUSE) -r $(WORKER_PINS)/cpu.txt
	@touch $@

COMPILE = UV_PYTHON_DOWNLOADS=never $(BIN)/uv pip compile --python-version 3.11 --upgrade --generate-hashes \
  --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet
# Of rented machines: the versions that development uses. pip comes with their image, OpenVINO is for CPUs.
COMPILE_WORKER = $(COMPILE) --python-platform x86_64-manylinux_2_28 --constraints $(PINS) --no-emit-package pip
COMPILE_GPU = $(COMPILE_WORKER) --no-emit-package onnxruntime-ep-openvino

lock: setup ## resolve requirements/dev.txt and the pins of rented machines again
	$(PIP) install --quiet 'uv>=0.13'
	$(COMPILE) --universal --extra dev --output-file $(PINS) pyproject.toml
	$(MAKE) pins

pins: setup ## resolve the pins of rented machines again, for Python 3.11 on x86-64
	$(PIP) install --quiet 'uv>=0.13'
	@mkdir -p $(WORKER_PINS)
	$(COMPILE_WORKER) --output-file $(WORKER_PINS)/cpu.txt pyproject.toml
	echo onnxruntime-ep-nv-tensorrt-rtx-cu12 | $(COMPILE_GPU) --output-file $(WORKER_PINS)/tensorrt-rtx.txt pyproject.toml -
	echo 'onnxruntime-gpu[cuda,cudnn]' | \
	  $(COMPILE_GPU) --no-emit-package onnxruntime --output-file $(WORKER_PINS)/cuda.txt pyproject.toml -
	echo onnxruntime-ep-webgpu | $(COMPILE_GPU) --output-file $(WORKER_PINS)/webgpu.txt pyproject.toml -
	@! grep -n '://' $(PINS) $(WORKER_PINS)/*.txt || { echo "a lock names a host: see the line above" >&2; exit 1; }

clean: ## remove what make made
	rm -rf $(VENV) .cache demo dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name .git -prune -o -type d -name __pycache__ -exec rm -rf {} +
