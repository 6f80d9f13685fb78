# Two commands do all the set-up: `make demo` and `make test`. The rest is for working on graphmesh.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
FRAMEWORKS := $(VENV)/.frameworks
CODE := core graph registry worker gateway client cli

.PHONY: help install demo test clients check lint types imports protos format gen bench up debian clean

help:  ## List the commands.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "graphmesh needs Python 3.11 or later; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@echo "making the virtual environment $(VENV) and installing graphmesh into it: a minute or two"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@# The demo's OCR models ship inside this wheel. It is data here: its code, its requirements and the Python versions
	@# that these want do not matter.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --ignore-requires-python \
	  'rapidocr-onnxruntime==1.4.4'
	@touch $@

# All model frameworks, for the tests of their backends.
$(FRAMEWORKS): $(STAMP)
	@echo "installing the model frameworks that the tests need: a minute or two"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,frameworks]'
	@touch $@

install: $(STAMP)  ## Make .venv with the graphmesh command in .venv/bin.

demo: $(STAMP)  ## Serve and call a real OCR graph, then stop.
	$(BIN)/graphmesh demo

up: $(STAMP)  ## Start the mesh of ./mesh.yaml, or an empty one.
	$(BIN)/graphmesh up

test: $(FRAMEWORKS) debian clients  ## Run all checks and tests.
	$(MAKE) check
	@# Most tests wait for other processes, so two run side by side; what a process has left to do, the other one takes.
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Clients whose requirements do not go together with ours: each in an environment of its own, a minute the first time.
clients: $(STAMP)  ## Make the environments of kserve's and mlserver's clients, for their tests.
	@$(BIN)/python -m tests.contract.environments

check: $(STAMP) lint types imports protos  ## Formatting, lint, types, import rules, protocol.

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(STAMP)
	$(BIN)/mypy $(CODE) protos/generate.py
	$(BIN)/mypy tests examples benchmarks

imports: $(STAMP)
	$(BIN)/lint-imports

protos: $(STAMP)
	$(BIN)/python protos/check.py

format: $(STAMP)  ## Format the code.
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

gen: $(STAMP)  ## Regenerate protos/gen and the reference pages of the documentation.
	$(BIN)/python protos/generate.py
	$(BIN)/python -m tests.docs.reference

bench: $(STAMP) debian  ## Print what a request costs beside references and Triton, and hold batching and graphs against their goals.
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.batching
	$(BIN)/python -m benchmarks.diamond

# What tests and benchmarks need from Debian; installed when this machine lets us, else the tests that miss it fail and
# say so.
DEBIAN := etcd-server:etcd nghttp2-client:h2load iproute2:ip docker-compose:docker-compose
debian:
	@missing=""; for entry in $(DEBIAN); do \
	  command -v "$${entry#*:}" >/dev/null 2>&1 || missing="$$missing $${entry%:*}"; done; \
	if [ -n "$$missing" ]; then \
	  if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then \
	    echo "installing Debian packages:$$missing"; \
	    apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	  else echo "missing Debian packages:$$missing; install them: sudo apt-get install$$missing"; fi; fi

clean:  ## Remove what the commands above made.
	rm -rf $(VENV) .clients .peers build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
