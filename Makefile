# `make` lists the targets. A target that needs the development environment creates it first, in .venv.

PYTHON ?= python3
UV     ?= uv

BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-long coverage sim mutants e2e game-day capture lint format bench bench-sweep lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/.installed ## Create the development environment (PYTHON=… chooses the interpreter)

demo: .venv/.installed ## Run the service in a simulated world, to watch it work (ONCE=1: play the story once, then end)
	@$(BIN)/python -m sandbox.demo $(if $(ONCE),--once)

# Three test workers for each processor, because the tests of the whole service mostly wait. Each would compile every
# test again if bytecode were not written: five seconds of processor time.
test: .venv/.installed ## Run all tests that need only this environment (ARGS=… goes to pytest)
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/pytest --numprocesses $$($(BIN)/python -c 'import os; print(3 * (os.cpu_count() or 1))') --dist worksteal $(ARGS)

test-long: .venv/.installed ## Run the tests of the whole service that take minutes
	@$(BIN)/pytest tests/long $(ARGS)

coverage: .venv/.installed ## Show the lines and branches that no quick test reaches
	@$(BIN)/coverage run --module pytest --quiet tests/unit tests/contract tests/simulation tests/upgrade $(ARGS)
	@$(BIN)/coverage report

sim: .venv/.installed ## Play many stories of faults in simulated time (SEEDS=… of each kind; ARGS="--first 500")
	@$(BIN)/python -m tests.simulation --seeds $(or $(SEEDS),100) $(ARGS)

mutants: .venv/.installed ## Plant faults in the protocol and check that the quick tests find each (ARGS=… selects some)
	@$(BIN)/python -m tests.mutants $(ARGS)

e2e: .venv/.installed ## Run the tests against real servers (needs Java 17, Maven and PostgreSQL 15, or newer)
	@$(BIN)/pytest tests/e2e $(ARGS)

game-day: .venv/.installed ## Play faults beside a real Prometheus and Alertmanager: who is paged? (ARGS=--help; needs Java 17, Maven)
	@$(BIN)/python -m tests.gameday $(ARGS)

capture: .venv/.installed ## Capture the connector's golden records again (needs the same as e2e)
	@$(BIN)/python -m tests.golden.capture $(ARGS)

lint: .venv/.installed ## Check style, formatting, types and the direction of imports
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --check --quiet
	@$(BIN)/mypy
	@$(BIN)/lint-imports

format: .venv/.installed ## Format the code and fix what can be fixed automatically
	@$(BIN)/ruff check --fix --quiet --exit-zero
	@$(BIN)/ruff format

bench: .venv/.installed ## Measure speed and memory, and print the results
	@$(BIN)/python -m benchmarks $(ARGS)

bench-sweep: .venv/.installed ## Measure only sweeps (ARGS="--mailboxes 10000 --events 60": a large site)
	@$(BIN)/python -m benchmarks sweep $(ARGS)

LOCK := $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-annotate --no-header $(if $(UPGRADE),--upgrade)

lock: ## Resolve requirements/ again from pyproject.toml (UPGRADE=1: to the newest versions; needs uv)
	@command -v $(UV) >/dev/null \
	|| { echo "uv is missing, and make lock needs it: pip install uv" >&2; exit 1; }
	@$(LOCK) --output-file requirements/service.txt
	@$(LOCK) --extra dev --constraint requirements/service.txt --output-file requirements/dev.txt

clean: ## Remove the environment, the caches and everything else that the targets created
	@rm -rf .venv .cache .demo dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.installed: requirements/dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	|| { echo "$(PYTHON) is older than Python 3.11: set PYTHON to a newer interpreter" >&2; exit 1; }
	@echo "Installing the development environment in .venv"
	@$(PYTHON) -m venv .venv
	@$(PIP) --require-hashes --requirement requirements/dev.txt
	@$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@
