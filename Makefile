# `make demo` and `make test` are all that a newcomer needs; both set the environment up first.
# Choose another Python with PYTHON=, another place for the environment with VENV=.

PYTHON ?= python3
VENV ?= .venv
TESTS ?= tests
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up-finished
# What pip says goes into this file; its end is shown if pip fails.
LOG := $(VENV)/pip.log
PIP := $(BIN)/python -m pip --disable-pip-version-check
FAILED := { tail -n 25 $(LOG); echo "The installation failed; all that pip said is in $(LOG)."; exit 1; }
EXTRAS := openmmlab,timm,onnx,openvino,serve,demo,pretraining,dev

.DEFAULT_GOAL := help
.PHONY: help setup demo app test check check-install bench docs clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: $(STAMP) ## make the environment in .venv (once; again when setup.py changes)

$(STAMP): setup.py Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
	  echo "Python 3.10 or newer is needed, but '$(PYTHON)' is $$($(PYTHON) --version 2>&1)."; \
	  echo "Name another one: make setup PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 13))' || \
	  echo "Without OpenMMLab: mmcv 1.x does not build on Python 3.13 and newer. Everything else works."
	@echo "Installing into $(VENV): the first time it takes several minutes and 7 GB (progress: $(LOG)) ..."
	@$(PIP) install --upgrade 'pip>=25.3' >$(LOG) 2>&1 || $(FAILED)
	@echo 'setuptools<81' >$(VENV)/build-constraint.txt
	@$(PIP) install --build-constraint $(VENV)/build-constraint.txt --editable '.[$(EXTRAS)]' >>$(LOG) 2>&1 || $(FAILED)
	@touch $@
	@echo "The environment is ready: $$($(BIN)/python --version) in $(VENV)."

demo: setup ## classify the pictures that come with the package, fine-tune on digits (needs no network)
	@$(BIN)/beit demo

app: setup ## a page on which people classify pictures with the small model (needs no network); Ctrl-C ends it
	@$(BIN)/python demo/app.py

test: setup ## run the tests (two cores: twenty minutes)
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal $(TESTS)

check: setup ## format, lint, types, then all tests and guards
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -n 2 --dist worksteal $(TESTS)

check-install: setup ## a plain `pip install .` in a fresh environment gives the same scores
	@$(BIN)/python -m pytest -q -m fresh_install $(TESTS)

bench: setup ## measure start-up, decoding and a training step, speed and memory, beside the peers
	@$(BIN)/python benchmarks/cold_start.py
	@$(BIN)/python benchmarks/decoding.py
	@$(BIN)/python benchmarks/decoding.py --end-to-end
	@$(BIN)/python benchmarks/data_loading.py
	@$(BIN)/python benchmarks/training_step.py
	@$(BIN)/python benchmarks/throughput.py
	@$(BIN)/python benchmarks/throughput.py --size large

docs: setup ## run every command of the pages in docs/ again, and write what they print
	@$(BIN)/python docs/refresh.py

clean: ## remove the environment and everything that was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
