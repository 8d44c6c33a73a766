# `make demo` and `make test` do all their set-up. Everything they make lies in target/, .venv/,
# .venv-old/, python/wavetask/bin/, demo-output/, example-output/ and
# bench-output/.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/bash
CARGO ?= cargo
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BINARY := target/release/wavetask
PLAIN_RUN := target/release/examples/plain_run
SOURCES := $(shell find crates -name '*.rs' -o -name Cargo.toml 2>/dev/null) Cargo.toml Cargo.lock
PYTHON_SOURCES := $(shell find python/src python/wavetask -name '*.rs' -o -name '*.py' -o -name '*.pyi' 2>/dev/null) \
	python/Cargo.toml python/pyproject.toml python/README.md

export WAVETASK_TEST_PYTHON := $(CURDIR)/.venv/bin/python
export WAVETASK_TEST_PYTHON_OLD := $(CURDIR)/.venv-old/bin/python
export WAVETASK_TEST_BINARY := $(CURDIR)/$(BINARY)
export WAVETASK_TEST_PLAIN_RUN := $(CURDIR)/$(PLAIN_RUN)

.PHONY: help setup tools wheel demo examples test test-rust test-python lint bench clean

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

tools: ## installs what is missing of the compiler and venv packages (Debian), or says what to install
	@PYTHON="$(PYTHON)" scripts/tools

.venv/.ready: tests/requirements.txt | tools
	@echo "setting up .venv with the unmodified tidy3d client (once, about a minute)"
	@$(PYTHON) -m venv .venv
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --progress-bar off -r $<
	@touch $@

.venv-old/.ready: tests/requirements-old.txt | tools
	@echo "setting up .venv-old with an older tidy3d client (once, about a minute)"
	@$(PYTHON) -m venv .venv-old
	@.venv-old/bin/python -m pip install --quiet --disable-pip-version-check --progress-bar off -r $<
	@touch $@

$(BINARY): $(SOURCES) | tools
	$(CARGO) build --release --locked --package wavetask

# What tests/client_plain runs: the engine over the plain tidy3d protocol.
$(PLAIN_RUN): $(SOURCES) | tools
	$(CARGO) build --release --locked --package wavetask-client --example plain_run

# The wheel holds the binary, too: it is the command line and the embedded server.
target/wheels/.ready: $(BINARY) $(PYTHON_SOURCES) .venv/.ready
	@mkdir -p python/wavetask/bin target/wheels
	strip -S -o python/wavetask/bin/wavetask $(BINARY)
	@rm -f target/wheels/*.whl
	.venv/bin/maturin build --quiet --release --locked --manifest-path python/Cargo.toml --out target/wheels
	@touch $@

wheel: target/wheels/.ready ## the Python package, in target/wheels

.venv/.wavetask: target/wheels/.ready
	@.venv/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps target/wheels/*.whl
	@touch $@

.venv-old/.wavetask: target/wheels/.ready .venv-old/.ready
	@.venv-old/bin/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps target/wheels/*.whl
	@touch $@

setup: .venv/.wavetask .venv-old/.wavetask ## both clients, the release build, the Python package

demo: .venv/.wavetask ## heat to modes of a thermo-optic phase shifter in three ways, and what each moves and takes
	@.venv/bin/python scripts/demo.py --binary $(BINARY) --output demo-output

examples: .venv/.wavetask ## runs all examples, the notebook too
	@.venv/bin/python scripts/run_examples.py
	@.venv/bin/python scripts/with_server.py --binary $(BINARY) --log example-output/server.log -- \
		.venv/bin/python examples/thermo_optic_heat_sweep.py --output example-output/heat-sweep

test: test-rust test-python ## all tests

test-rust: .venv/.ready .venv-old/.ready $(BINARY)
	WAVETASK_DAMAGE_FILES=100000 $(CARGO) test --locked --workspace

test-python: setup $(PLAIN_RUN)
	.venv/bin/python -m pytest tests -q -p no:cacheprovider
	.venv/bin/python -m pytest python/tests -q -p no:cacheprovider
	WAVETASK_DROP_IN=1 .venv/bin/python -m pytest tests/client -q -p no:cacheprovider
	.venv-old/bin/python -m pytest tests/client -q -p no:cacheprovider

lint: .venv/.wavetask ## formatting and lints, warnings are errors
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --workspace --no-deps --quiet
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy --config-file python/pyproject.toml

bench: setup ## prints the benchmark tables with method and machine
	.venv/bin/python bench/run.py

clean: ## removes everything that the other targets made
	rm -rf target .venv .venv-old demo-output example-output bench-output python/wavetask/bin
