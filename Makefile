# Every target sets up what it needs: a virtual environment in .venv, and for tests the real servers in .backends.
SHELL := /bin/bash
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3.13 python3.14 python3,$(shell command -v $(p) 2>/dev/null)))
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help
help:  ## Show all targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed; on Debian: apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -qy python3-venv; } \
		|| { echo "This Python has no venv; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "Setting up $(VENV): some minutes the first time ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.PHONY: install
install: $(READY)  ## Set up .venv with the package and the development tools

.PHONY: demo
demo: $(READY)  ## Run a real load test against the demo shop, with the bridge on
	$(BIN)/locust-otel demo $(ARGS)

.PHONY: backends
backends: $(READY)  ## Fetch the real servers of the tests into .backends
	$(BIN)/python tests/backends/fetch.py --only prometheus,promtool,alertmanager,victoria-metrics

.PHONY: format
format: $(READY)  ## Format the code
	$(BIN)/ruff check --fix --quiet . ; $(BIN)/ruff format --quiet .

.PHONY: generate
generate: $(READY)  ## Write the generated files: tables of docs/, rules, schemas, dashboards
	$(BIN)/python docs/generate.py
	$(BIN)/python -m dashboards.generate

.PHONY: check
check: $(READY)  ## Format, lint, types, unit tests, generated files: before every commit
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/python docs/generate.py --check
	$(BIN)/python -m dashboards.generate --check
	$(BIN)/pytest -q tests/unit --cov

.PHONY: test
test: check backends  ## Everything a change must pass: check, real servers, end-to-end runs
	$(BIN)/pytest -q -m "not collector and not slow and not browser" tests/rules tests/integration tests/e2e

.PHONY: test-slow
test-slow: backends  ## Longer tests: alerts from fault to webhook, exit codes, dashboards, records, faulty sinks
	$(BIN)/pytest -q -m "slow and not collector and not browser" tests/integration tests/e2e tests/faults

.PHONY: test-collector
test-collector: $(READY)  ## Tests against an OpenTelemetry Collector; Go builds it the first time, in ten minutes
	$(BIN)/python tests/backends/fetch.py --only prometheus,otelcol
	$(BIN)/pytest -q -m collector tests/integration tests/e2e

.PHONY: browser
browser:  ## Install Chromium if it is missing, on Debian as root
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && apt-get update -q && apt-get install -qy chromium; } \
		|| { echo "The tests of pages need Chromium; on Debian: apt-get install chromium" >&2; exit 1; }

.PHONY: test-browser
test-browser: $(READY) browser  ## Test the live page and the report in a real browser
	$(BIN)/pytest -q -m browser tests/integration tests/e2e

.PHONY: matrix
matrix: $(READY)  ## Tests on every Python of this machine, and on the lowest supported Locust
	$(BIN)/python tests/matrix.py

.PHONY: bench
bench: $(READY)  ## Measure the budgets of the design, as ratios within one run
	$(BIN)/pytest -q -s -o timeout=600 tests/bench

.PHONY: performance
performance: $(READY)  ## Measure and write docs/performance.md, in 45 minutes; PARTS="soak" for one part
	$(BIN)/python -m tests.bench.report $(PARTS)

.PHONY: analysis
analysis: $(READY)  ## Simulate runs whose pattern is known; write the named patterns into docs/analysis.md
	$(BIN)/python -m tests.analysis.ground_truth --write

.PHONY: audit
audit: $(READY)  ## Look up the pinned dependencies in the database of known vulnerabilities
	$(PYTHON) -m venv .matrix/audit
	.matrix/audit/bin/pip install --quiet --disable-pip-version-check pip-audit
	.matrix/audit/bin/pip-audit --no-deps --disable-pip -r constraints.txt

.PHONY: faults
faults: $(READY)  ## Play every fault of a sink or a scraper; write its cost into docs/reliability.md
	$(BIN)/python -m tests.faults.matrix $(ARGS)

.PHONY: mutation
mutation: $(READY)  ## Change core, wire and slo in thousands of places, and count the changes that no unit test notices
	$(BIN)/pip install --quiet --disable-pip-version-check mutmut==3.8.1
	$(BIN)/mutmut run
	$(BIN)/mutmut results | grep survived > mutants/survived.txt; wc -l mutants/survived.txt

.PHONY: fuzz
fuzz: $(READY)  ## Search for reports and answers that break their decoder, a minute each, guided by coverage
	$(BIN)/pip install --quiet --disable-pip-version-check atheris==3.0.0
	$(BIN)/python -m tests.fuzz.fuzz report $(or $(SECONDS_EACH),60)
	$(BIN)/python -m tests.fuzz.fuzz answer $(or $(SECONDS_EACH),60)

.PHONY: clean
clean:  ## Remove everything that the targets have set up
	rm -rf $(VENV) .backends .coverage .matrix .mypy_cache .pytest_cache .ruff_cache .hypothesis mutants
