# Set up and run voxanchor with Python 3.11+ and pip alone. `make help` lists the targets.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check
WORKERS ?= 2
BENCH  := benchmarks/.venv
LOWEST := .venv-lowest
OTHER  := .venv-$(notdir $(PYTHON))
# what rests most on other packages
SMOKE  := tests/audio tests/cli tests/enrolments tests/evaluation tests/export tests/models tests/service \
	tests/test_end_to_end.py tests/test_extras.py
# CONSTRAINTS= (nothing) takes the newest versions instead of those that the project is tested with
CONSTRAINTS ?= --constraint constraints.txt

.PHONY: help setup quickstart test slow lowest other lint types check bench clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

setup: $(VENV)/.ready ## make .venv with everything installed

# Set up again only when what is to be installed has changed. resemblyzer carries the GE2E weights; its own
# dependencies are heavy, partly stale, and not needed for them.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "voxanchor needs Python 3.11 or newer: make PYTHON=python3.11 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet $(CONSTRAINTS) torch
	$(PIP) install --quiet $(CONSTRAINTS) --editable '.[dev]'
	$(PIP) install --quiet $(CONSTRAINTS) --no-deps resemblyzer
	touch $@

quickstart: setup ## synthetic voices, three stages, table and report in runs/quickstart
	$(BIN)/voxanchor quickstart --out runs/quickstart

test: setup ## the quick tests
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) -m 'not slow'

slow: setup ## the slow tests
	$(BIN)/python -m pytest -m slow

# Older versions warn of what newer ones have mended, so warnings are no errors here; old test clients need httpx.
$(LOWEST)/.ready: pyproject.toml constraints.txt .ci/lowest.py
	test -x $(LOWEST)/bin/python || $(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python .ci/lowest.py > $(LOWEST)/requirements.txt
	$(LOWEST)/bin/python -m pip install --quiet --requirement $(LOWEST)/requirements.txt \
		'pytest>=8' 'pytest-xdist>=3.6.1' hypothesis 'scipy<1.17' kaldi-native-fbank pgserver httpx
	$(LOWEST)/bin/python -m pip install --quiet --no-deps --editable . resemblyzer
	touch $@

lowest: $(LOWEST)/.ready ## the tests of what rests on other packages, with the lowest versions that pyproject.toml allows
	OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -n $(WORKERS) -m 'not slow' -o filterwarnings=default $(SMOKE)

$(OTHER)/.ready: pyproject.toml constraints.txt
	test -x $(OTHER)/bin/python || $(PYTHON) -m venv $(OTHER)
	$(OTHER)/bin/python -m pip install --quiet $(CONSTRAINTS) torch
	$(OTHER)/bin/python -m pip install --quiet $(CONSTRAINTS) --editable '.[test]'
	$(OTHER)/bin/python -m pip install --quiet $(CONSTRAINTS) --no-deps resemblyzer
	touch $@

other: $(OTHER)/.ready ## the same tests with another Python: make other PYTHON=python3.13
	OMP_NUM_THREADS=1 $(OTHER)/bin/python -m pytest -n $(WORKERS) -m 'not slow' $(SMOKE)

lint: setup ## style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup ## types
	$(BIN)/mypy

check: lint types test ## everything that must be green

# An environment of its own: the peers must not be able to change what voxanchor is tested with. Those that ask for
# versions that do not fit, or for packages that do not load here, come without their dependencies.
$(BENCH)/.ready: pyproject.toml constraints.txt benchmarks/constraints.txt
	test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --constraint constraints.txt torch
	$(BENCH)/bin/python -m pip install --quiet --constraint constraints.txt --constraint benchmarks/constraints.txt \
		--editable '.[all]' kaldi-native-fbank librosa webrtcvad-wheels hyperpyyaml tqdm requests \
		numpy-minmax numpy-rms python-stretch
	$(BENCH)/bin/python -m pip install --quiet --constraint constraints.txt --constraint benchmarks/constraints.txt \
		--no-deps speechbrain resemblyzer audiomentations
	touch $@

bench: $(BENCH)/.ready ## voxanchor and its peers side by side, in one run: docs/benchmarks.md
	$(BENCH)/bin/python benchmarks/run.py $(ARGS)

clean: ## remove .venv and caches; runs/ stays
	rm -rf $(VENV) .venv-* $(BENCH) .pytest_cache .mypy_cache .ruff_cache .hypothesis
