# make train, make test, make campaign: on a machine with nothing but Python >= 3.10 (with venv) and make.
# REQUIREMENTS=requirements-2.6.txt: the same with Paddle 2.6.
PYTHON ?= python3
REQUIREMENTS ?= requirements.txt
# An environment for each requirements file: .venv, .venv-2.6, .venv-gpu.
VENV ?= .venv$(patsubst requirements%.txt,%,$(REQUIREMENTS))
# The converter to ONNX for that Paddle, where there is one.
ONNX := $(wildcard $(patsubst requirements%,requirements-onnx%,$(REQUIREMENTS)))
CONFIG ?= configs/digits_cnn.yml
# What `make board` shows: folders of runs and sweeps.
RUNS ?= runs/$(basename $(notdir $(CONFIG)))
BIN := $(VENV)/bin
# With this variable Python compiles every module again in every process: ten seconds for each that imports all tests.
unexport PYTHONDONTWRITEBYTECODE
# A process for each core. Each begins with tests that follow each other, so that a fixture of a module is made once.
SHARED := -n auto --dist worksteal

.PHONY: train board test campaign check-gpu test-all check bench schema dist clean

train: $(VENV)/.operations
	$(BIN)/python tools/train.py -c $(CONFIG)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(SHARED) -m "not campaign"

# Until Ctrl-C.
board: $(VENV)/.installed
	$(BIN)/python tools/board.py $(RUNS)

# The tests that a person does not wait for: kills at random moments, whole networks on oneDNN, the examples, the commands of the
# docs, and what the system around a process does to it.
campaign: $(VENV)/.installed-dev
	$(BIN)/python -m pytest $(SHARED) -m campaign

# Training in each precision, on a machine with a GPU. Paddle 3: any environment with a GPU build, and the last line.
check-gpu:
	$(MAKE) REQUIREMENTS=requirements-gpu.txt .venv-gpu/.installed-dev
	PPEMA_TEST_DEVICE=gpu .venv-gpu/bin/python -m pytest -m gpu -rs

test-all: $(VENV)/.installed-dev
	$(BIN)/nox

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --level error --pythonpath $(BIN)/python

bench: $(VENV)/.installed-bench
	$(BIN)/python tools/benchmark.py

schema: $(VENV)/.installed
	$(BIN)/python tools/show.py --schema > configs/schema.json
	$(BIN)/python tools/show.py --reference > docs/config.md

# What is published: a source distribution, and the pure wheel that is built from it. A package index takes no wheel that names this
# platform alone; `pip wheel .` makes one, with the C++ operations.
dist: $(VENV)/.installed-dev
	rm -rf dist
	PPEMA_NATIVE=0 $(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

clean:
	rm -rf .venv .venv-* .nox .pytest_cache .ruff_cache .hypothesis build dist *.egg-info

# The stamps make an installation happen once, and again when a requirements file changes.
$(VENV)/.installed: $(REQUIREMENTS) requirements-core.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	    { echo "ppema needs Python 3.10 or newer: make PYTHON=/path/to/python3.12 ..." >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || \
	    { rm -rf $(VENV); echo "python3 -m venv failed: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r $(REQUIREMENTS)
	@touch $@

# The C++ operations, compiled once for this Paddle and processor, if there is a compiler. One line says so, or why there are none.
$(VENV)/.operations: $(VENV)/.installed $(wildcard ppema/ir/native/*)
	@$(BIN)/python -c 'import ppema; from ppema.ir.native import why_missing; why_missing()'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.txt $(ONNX)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt $(addprefix -r ,$(ONNX))
	@touch $@

$(VENV)/.installed-bench: $(VENV)/.installed requirements-bench.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-bench.txt
	@touch $@
