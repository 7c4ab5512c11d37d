# Two commands do everything: `make demo` and `make test`. Both set up what is missing first.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo demo-cluster chaos loop test test-all lint setup sandbox clean

setup: $(READY) sandbox

# The lock pins every package; torch stands in the same call, so that no other package can bring
# another build of it.
$(READY): requirements.lock pyproject.toml
	@echo "== installing the pinned environment into $(VENV) (some minutes, once)"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps -r requirements.lock
	@$(BIN)/pip install -q --disable-pip-version-check --no-deps -e .
	@touch $@

# A container engine (or bubblewrap) and the image that model-written code runs in. Where neither
# is installed and this is root on Debian, they are.
sandbox: $(READY)
	@command -v dockerd bwrap >/dev/null || test -n "$$DOCKER_HOST" || test -S /var/run/docker.sock || \
	  { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && \
	    echo "== installing docker.io and bubblewrap (once)" && apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
	      docker.io bubblewrap >/dev/null; } || true
	@$(BIN)/python -m actors.sandbox.image >/dev/null

demo: setup
	@test -s .stepmill/demo-problems.jsonl || $(BIN)/python -m demo.world --out .stepmill/demo-problems.jsonl --problems 96 --seed 1
	@$(BIN)/stepmill build configs/demo.yaml
	@$(BIN)/stepmill download demo .stepmill/demo-dataset
	@$(BIN)/python -m demo.truth demo

# Dataset, training, evaluation, best-of-8 and refinement on the demo world, and what that shows.
loop: setup
	@$(BIN)/python -m benchmarks.loop

# The demo on Ceph's S3 gateway and three Ray nodes, submitted as a job, one node killed.
demo-cluster: setup
	@$(BIN)/python -m benchmarks.demo_cluster

# A hundred random kills over one scripted build; `make chaos REAL=1` with the demo's models.
chaos: setup
	@$(BIN)/python -m benchmarks.chaos $(if $(REAL),--real) $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES) --folder .stepmill/chaos)

# Some promises are about time (a run ends by its limit plus one second), and a machine that is
# starved by others breaks them for us: what failed is run once more by itself, and must pass then.
test: setup lint
	@$(BIN)/pytest -m "not slow" || { echo "== once more, only what failed"; \
	  $(BIN)/pytest -m "not slow" --last-failed --last-failed-no-failures none; }

test-all: setup lint
	@$(BIN)/pytest

lint: $(READY)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

clean:
	rm -rf .stepmill
