# Every target that needs Python runs in .venv, made on first use from the interpreter in $(PYTHON).
PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
PIP    := $(PY) -m pip install --quiet --disable-pip-version-check
ARGS   ?=

.DEFAULT_GOAL := help
.PHONY: help env test test-all test-gpu test-gpu-emulated demo bench lint fuzz notebooks docs clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

$(PY):
	@$(PYTHON) -c 'import sys; ok = (3, 11) <= sys.version_info < (3, 14); print(end="" if ok else "tracejit needs Python 3.11, 3.12 or 3.13; say which, as in make PYTHON=python3.12\n"); sys.exit(not ok)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "could not make $(VENV); does $(PYTHON) have the venv module (python3-venv)?"; exit 1; }

# One stamp for each set of extras: the install runs again only when pyproject.toml changes.
$(VENV)/installed-%: pyproject.toml | $(PY)
	@echo "installing tracejit[$*] into $(VENV)"
	@$(PIP) -e '.[$*]' || { echo "the install failed; without a network, point pip at a local index or folder of wheels (PIP_INDEX_URL, PIP_FIND_LINKS)"; exit 1; }
	@touch $@

env: $(VENV)/installed-dev $(VENV)/installed-demo $(VENV)/installed-notebooks  ## make .venv with all that tests, demo and notebooks need

test: env  ## the test suite without what is marked slow (under 10 minutes on 2 cores)
	$(PY) -m pytest -q -n 2 --dist loadfile -m "not slow and not gpu" $(ARGS)

test-all: env  ## the whole test suite
	$(PY) -m pytest -q -m "not gpu" $(ARGS)

test-gpu-emulated: env $(VENV)/installed-cuda-emulated  ## the GPU back end on an emulated device: needs no GPU
	$(PY) -m pytest -q -m "not gpu" tests/cuda $(ARGS)

test-gpu: env $(VENV)/installed-cuda  ## the tests that need a CUDA device
	$(PY) -m pytest -q -m gpu $(ARGS)

demo: $(VENV)/installed-demo  ## train a small convolutional network on real handwritten digits
	$(PY) examples/digits/train.py $(ARGS)

bench: $(VENV)/installed-dev  ## time tracejit beside JAX, PyTorch, Numba and NumPy, whichever are installed (all: make .venv/installed-bench)
	$(PY) -m benchmarks $(ARGS)

bench-report: $(VENV)/installed-demo  ## write docs/benchmarks.md, its picture and README's table from benchmarks/results/all.json
	$(PY) -m benchmarks.report $(ARGS)

lint: $(VENV)/installed-dev  ## ruff, and the layer and size tests
	$(PY) -m ruff check tracejit tests examples benchmarks
	$(PY) -m pytest -q tests/test_layers.py

fuzz: $(VENV)/installed-dev  ## random programs against their meaning: make fuzz ARGS="--n 10000 --minutes 60 --seed 0"
	$(PY) -m tracejit.tools.fuzz $(ARGS)

notebooks: $(VENV)/installed-dev $(VENV)/installed-notebooks  ## run every notebook from top to bottom
	$(PY) -m pytest -q tests/test_notebooks.py $(ARGS)

docs: $(VENV)/installed-dev  ## write the tables that are generated from the source: docs/ops.md, docs/settings.md
	$(PY) docs/generate.py

clean:  ## remove .venv, caches and outputs
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build examples/output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
