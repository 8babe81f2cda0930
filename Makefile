# The commands of this project. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
NODE_MODULES := tests/js/node_modules/.installed
GUNICORN := $(BIN)/gunicorn --config config/gunicorn.conf.py
# HOST= and PORT= on the command line reach the application through the environment.
export HOST PORT

.DEFAULT_GOAL := help

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: $(VENV)/.installed ## start the application (HOST=, PORT=), with an embedded database and queue
	@exec $(GUNICORN) wsgi:app

dev: $(VENV)/.installed ## the same, and start again when a file changes
	@exec $(GUNICORN) --reload wsgi:app

cluster: cluster-packages $(VENV)/.installed ## three nodes, nginx, Redis and RabbitMQ on this machine (NODES=, PORT=)
	@$(BIN)/python -m deploy up --nodes $(or $(NODES),3) --port $(or $(PORT),0)

cluster-watch: $(VENV)/.installed ## show every second how the cluster is, until Ctrl-C
	@$(BIN)/python -m deploy watch

cluster-kill: $(VENV)/.installed ## kill -9 a part of the cluster, to see what happens (WHAT=n1, redis, rabbitmq, nginx)
	@test -n "$(WHAT)" || { echo "Say which: make cluster-kill WHAT=n1 (or redis, rabbitmq, nginx)"; exit 1; }
	@$(BIN)/python -m deploy kill $(WHAT)

cluster-roll: $(VENV)/.installed ## restart its nodes one by one, as a deploy does
	@$(BIN)/python -m deploy roll

cluster-stop: $(VENV)/.installed ## end the cluster, and leave nothing behind
	@$(BIN)/python -m deploy down

test: packages check unit transport faults-short deployment e2e ## everything: lint, types, all tests; installs what is missing

check: $(VENV)/.installed-dev ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: $(VENV)/.installed-dev packages ## unit and integration tests (real databases, brokers, gunicorn)
	$(BIN)/python -m pytest tests/unit tests/integration

transport: $(VENV)/.installed-dev packages $(NODE_MODULES) ## tests of the transport: protocol, real clients, hostile ones
	$(BIN)/python -m pytest tests/transport -m "not soak"

faults-short: $(VENV)/.installed-dev packages ## the most telling failures of brokers (4 min)
	$(BIN)/python -m pytest tests/faults

faults: $(VENV)/.installed-dev packages ## every failure of a broker at full length (20 min); writes docs/reliability.md
	$(BIN)/python -m pytest tests/faults --full --fault-report docs/reliability.md

deployment: $(VENV)/.installed-dev packages $(NODE_MODULES) ## tests of nginx, supervisor and several nodes under load
	$(BIN)/python -m pytest tests/deploy -m "not soak"

soak: $(VENV)/.installed-dev packages $(NODE_MODULES) ## the same with full numbers: 300 clients, minutes long
	$(BIN)/python -m pytest tests/deploy -m soak
	$(BIN)/python -m pytest tests/transport -m soak

e2e: $(VENV)/.installed-dev packages $(NODE_MODULES) ## tests in a real browser
	$(BIN)/python -m pytest tests/e2e

cluster-packages:
	@PYTHON=$(PYTHON) scripts/system-packages cluster

packages: ## install the Debian packages that the tests need
	@PYTHON=$(PYTHON) scripts/system-packages tests

bench: $(VENV)/.installed-dev packages $(NODE_MODULES) ## print the benchmarks' figures (20 min); writes docs/benchmarks.md
	$(BIN)/python -m benchmarks.emitter
	$(BIN)/python -m benchmarks.queue
	$(BIN)/python -m benchmarks.json_codec
	$(BIN)/python -m benchmarks.parsers
	$(BIN)/python -m benchmarks.presence
	$(BIN)/python -m benchmarks.first_load
	$(BIN)/python -m benchmarks.transport --docs

format: $(VENV)/.installed-dev ## format the code
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

docs: $(VENV)/.installed-dev ## write docs/configuration.md, docs/events.md and .env.example from the code
	$(BIN)/python -m scripts.write_docs

screenshots: $(VENV)/.installed-dev packages ## take the pictures in docs/images
	$(BIN)/python -m scripts.screenshots

lock: $(VENV)/.installed-dev ## pin requirements*.in into requirements*.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --upgrade requirements.in --output-file requirements.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
		--no-emit-index-url --no-emit-find-links --upgrade requirements-dev.in --output-file requirements-dev.txt

clean: ## remove the virtual environment, caches and test results (not your data in instance/)
	@test ! -e instance/cluster || { echo "A cluster runs: make cluster-stop first"; exit 1; }
	rm -rf $(VENV) tests/js/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis test-results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, and $(PYTHON) is not: make run PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "$(PYTHON) cannot make virtual environments: apt install python3-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt | $(VENV)/bin/python
	@echo "Installing what requirements.txt names (once)..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	@echo "Installing what requirements-dev.txt names (once)..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-dev.txt
	@touch $@

$(NODE_MODULES): tests/js/package-lock.json $(VENV)/.installed-dev
	@$(BIN)/python -m tests.support.node_js
	@touch $@

.PHONY: help run dev test check unit transport faults faults-short deployment soak e2e packages bench format docs screenshots \
	lock clean cluster cluster-packages cluster-watch cluster-kill cluster-roll cluster-stop
