# Five words: demo, test, check, fmt, bench. Each makes what it needs; nothing but Python 3.11+ has to be there first.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install

# What ruff's ASYNC rules leave out: cancellation that is swallowed, awaits in cleanup, nurseries that leak.
ASYNC_RULES := ASYNC101,ASYNC102,ASYNC103,ASYNC104,ASYNC106,ASYNC111,ASYNC112,ASYNC113,ASYNC118,ASYNC120,ASYNC121,ASYNC122,ASYNC123

.PHONY: demo test check fmt bench
.DELETE_ON_ERROR:

demo: .venv/runtime
	@$(BIN)/heliograph demo $(if $(ONCE),--once) $(if $(PORT),--port $(PORT))

test: .venv/dev .venv/interop
	$(BIN)/pytest $(ARGS)

check: .venv/dev .venv/interop
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	find gateway eventlog tests bench -name '*.py' -not -path '*/node_modules/*' | \
		xargs -n 40 -P 0 $(BIN)/flake8-async --enable=$(ASYNC_RULES)
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest $(ARGS)

fmt: .venv/dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/dev .venv/relay
	cd bench/peers && npm ci --no-audit --no-fund --silent
	missed=0; for one in log relay replication push; do $(BIN)/python -m bench.$$one || missed=1; done; exit $$missed

# Another relay to measure beside, in an environment of its own: it wants other versions of what we use.
.venv/relay: .venv/runtime
	$(BIN)/python -m venv .venv/relay
	.venv/relay/bin/python -m pip --disable-pip-version-check --quiet install nostr-relay==1.14

.venv/runtime: requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Heliograph needs Python 3.11, 3.12 or 3.13; none is on the PATH" >&2; exit 1; }
	@echo "making .venv with $(PYTHON), installing from the lock"
	$(PYTHON) -m venv .venv
	$(PIP) --require-hashes -r requirements.lock
	$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/dev: requirements-dev.lock .venv/runtime
	$(PIP) --require-hashes -r requirements-dev.lock
	@touch $@

# The JavaScript clients that the relay is tested with; without node those tests are skipped (and CI refuses to run).
.venv/interop: tests/interop/package-lock.json .venv/dev
	@if command -v npm >/dev/null; then cd tests/interop && npm ci --no-audit --no-fund --silent; \
	else echo "npm is missing: the tests with JavaScript clients are skipped" >&2; fi
	@touch $@
