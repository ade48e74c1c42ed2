# Needs Python >= 3.11, make and nothing else: the first target that runs makes .venv and fills it.
# Another interpreter: make test PYTHON=python3.13. Another place for the environment: VENV=/somewhere.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 8000
ARGS ?=

PY := $(VENV)/bin/python
READY := $(VENV)/.installed
MANAGE := $(PY) example_project/manage.py

.DEFAULT_GOAL := help
.PHONY: help demo storm test proof lint format sim faults bench docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY) ## run the example project on http://127.0.0.1:PORT/ (PORT=8000) until Ctrl-C; needs no other server
	@exec $(MANAGE) demo --port $(PORT) $(ARGS)

storm: $(READY) ## thousands of buyers against 100 tickets while the server is killed with -9 (ARGS="--buyers 5000")
	@exec $(MANAGE) storm --kill $(ARGS)

test: $(READY) ## every fast test; a skip without a reason that is expected fails
	$(PY) -m pytest -p tests.no_silent_skips tests $(ARGS)
	$(PY) -m pytest -p tests.no_silent_skips tests/example $(ARGS)

proof: $(READY) ## the promises with the counts of docs/promises.md, at most 30 minutes; SECONDS= for longer runs
	$(PY) -m tests.proof $(ARGS)

lint: $(READY) ## ruff, mypy --strict, the floors of the architecture, migrations and schema files that are missing
	$(VENV)/bin/ruff check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy --config-file example_project/mypy.ini
	$(VENV)/bin/lint-imports
	$(PY) -m django makemigrations --check --dry-run --settings tests.settings
	$(MANAGE) makemigrations --check --dry-run
	$(MANAGE) jido_schema --check

format: $(READY) ## let ruff sort the imports and fix what it can fix
	$(VENV)/bin/ruff check --fix .

sim: $(READY) ## the runtime over virtual time with aimed faults, and every mutant caught; SEED= replays, SECONDS= goes on
	$(PY) -m tests.sim $(ARGS)

faults: $(READY) ## real processes on real databases, killed, frozen and cut off; SEED= replays, SECONDS= goes on
	$(PY) -m tests.faults $(ARGS)

bench: $(READY) ## the tables of docs/explanation/performance.md as ratios measured in one run
	$(PY) -m benchmarks $(ARGS)

docs: $(READY) ## run every snippet of the documentation and follow its links
	$(PY) -m pytest -p tests.no_silent_skips tests/docs $(ARGS)

clean: ## remove the environment, the example's database and every cache
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .coverage htmlcov
	rm -rf example_project/*.sqlite3*
	find . -name __pycache__ -not -path './.git/*' -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "jido_objects needs Python 3.11 or newer; name one: make PYTHON=python3.12" >&2; exit 1; }
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(VENV) || { echo "The venv module failed; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }
	$(PY) -m pip install --quiet --disable-pip-version-check --upgrade pip
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[postgres,channels,redis,dev]'
	@touch $@
