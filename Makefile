# Two commands do everything: `make demo` and `make test`. Both set up what is missing first.
#
#   PYTHON=FILE    the interpreter (3.11 or 3.12), where python3 is another
#   GPU=1, GPU=0   the packages for machines with GPUs, or without; else by what nvidia-smi lists
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
ifndef GPU
GPU := $(if $(shell nvidia-smi --list-gpus 2>/dev/null | grep '^GPU'),1,0)
endif
# Debian's packages $(1), once, where this is root on Debian; elsewhere whoever needs them says so.
debian = { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
  echo "== installing $(1) (once)" && apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -qq --no-install-recommends $(1) >/dev/null; } || true
LOCKS := install.sh pyproject.toml $(wildcard locks/*.txt)
READY := $(VENV)/.ready-gpu$(GPU)
READY_DEV := $(READY)-dev
export PYTHON GPU
# Tests start hundreds of commands: each would compile the product again.
unexport PYTHONDONTWRITEBYTECODE

EACH_CORE := --numprocesses auto --dist loadfile

.PHONY: browser demo docs demo-cluster chaos loop test test-all lint lock setup sandbox checker clean

setup: $(READY) sandbox

$(READY): $(LOCKS)
	@./install.sh $(VENV)
	@touch $@

$(READY_DEV): $(LOCKS)
	@DEV=1 ./install.sh $(VENV)
	@touch $(READY) $@

# Resolves what locks/ pins, from pyproject.toml; UPGRADE=1 takes the newest of everything.
lock: $(READY_DEV)
	@$(BIN)/python locks/make.py $(if $(UPGRADE),--upgrade)

# A container engine (or bubblewrap) and the image that model-written code runs in. Where neither
# is installed and this is root on Debian, they are.
sandbox: $(READY)
	@command -v dockerd bwrap >/dev/null || test -n "$$DOCKER_HOST" || test -S /var/run/docker.sock || \
	  $(call debian,docker.io bubblewrap)
	@$(BIN)/stepmill sandbox >/dev/null

# The browser in which the page of `stepmill browse` is tested; where there is none, its tests skip.
browser:
	@command -v chromium chromium-browser google-chrome >/dev/null || $(call debian,chromium fonts-dejavu-core)

# What checks the model of the commit protocol (tests/protocol).
checker:
	@command -v spin >/dev/null && command -v gcc >/dev/null || $(call debian,spin gcc libc6-dev)

demo: setup
	@test -s .stepmill/demo-problems.jsonl || $(BIN)/python -m demo.world --out .stepmill/demo-problems.jsonl --problems 96 --seed 1
	@$(BIN)/stepmill build configs/demo.yaml
	@$(BIN)/stepmill download demo .stepmill/demo-dataset
	@$(BIN)/python -m demo.truth demo

# The documentation as a site in .stepmill/docs/site, built in an environment of its own.
docs:
	@$(or $(PYTHON),python3) docs/site/build.py

# Dataset, training, evaluation, best-of-8 and refinement on the demo world, and what that shows.
loop: setup
	@$(BIN)/python -m benchmarks.loop

# The demo on Ceph's S3 gateway and three Ray nodes, submitted as a job, one node killed.
demo-cluster: $(READY_DEV) setup
	@$(BIN)/python -m benchmarks.demo_cluster

# A hundred random kills over one scripted build; `make chaos REAL=1` with the demo's models.
chaos: setup
	@$(BIN)/python -m benchmarks.chaos $(if $(REAL),--real) $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES) --folder .stepmill/chaos)

# Tests whose limits are of seconds, and which kill or starve processes, run one after the other; of all
# others each core runs some, file by file (those of attacks and faults that only compute stand in
# tests/hostile and tests/protocol). COVERAGE=1 also prints which lines of the product the unit tests
# reach. Only they are measured: tracing doubles the time of tests that compute.
ALONE := tests/attacks tests/faults
test: $(READY_DEV) setup browser checker lint
	@$(BIN)/pytest -m "not slow" tests/unit $(EACH_CORE) $(if $(COVERAGE),--cov --cov-report=term)
	@$(BIN)/pytest -m "not slow" --ignore tests/unit $(addprefix --ignore ,$(ALONE)) $(EACH_CORE)
	@$(BIN)/pytest -m "not slow" $(ALONE)

test-all: $(READY_DEV) setup browser checker lint
	@$(BIN)/pytest

lint: $(READY_DEV)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

clean:
	rm -rf .stepmill
