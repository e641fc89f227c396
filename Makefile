# Everything a contributor runs. `make test` works on a fresh clone: it makes .venv itself.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-mutation test-tools lint format types contracts catalogue schemas docs-reference bench clean

help:  ## Say what there is to make.
	@sed -n 's/^\([a-z-]*\):.*##/\1	/p' Makefile | expand -t 16

demo: $(READY)  ## Build, sign, apply and roll back the example dotfiles in a scratch folder.
	PATH="$(CURDIR)/$(BIN):$$PATH" sh examples/demo.sh

test: $(READY) test-tools  ## All tests but the nightly ones.
	$(BIN)/pytest -n 2 -m "not long"

test-long: $(READY) test-tools  ## The nightly tests.
	$(BIN)/pytest -n 2 -m long --durations=20

test-mutation: $(READY) test-tools  ## Break the trusted core in small ways; do its tests notice?
	cd tests && ../$(BIN)/python -m mutation.run

lint: $(READY)  ## Style and likely mistakes.
	$(BIN)/ruff check
	$(BIN)/ruff format --check

format: $(READY)  ## Put the code into its form.
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

types: $(READY)  ## Static types.
	$(BIN)/mypy

contracts: $(READY)  ## Which house may import which.
	$(BIN)/lint-imports

catalogue: $(READY)  ## Write the action catalogue again, from the providers.
	$(BIN)/python -m requisition.stdlib.catalogue --write

schemas: $(READY)  ## Write the public JSON Schemas again, from the types.
	$(BIN)/python -m requisition.schemas.jsonschema
	$(BIN)/python -m requisition.compiler.manifest_schema
	$(BIN)/python -m requisition.services.fleet.schema
	$(BIN)/python -m requisition.services.watch.schema

docs-reference: $(READY)  ## Write docs/commands.md, actions.md and library.md again, from what they tell of.
	$(BIN)/python -m requisition.cli.manual docs

bench: $(READY)  ## Measure; figures for docs, not a test.
	$(BIN)/python bench/run.py
	$(BIN)/python bench/walk.py
	$(BIN)/python bench/history.py
	$(BIN)/python bench/fleet_plan.py
	$(BIN)/python bench/watch.py
	$(BIN)/python bench/delivery.py

clean:  ## Remove what tools left behind, but not .venv.
	rm -rf build dist demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage*
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Requisition needs Python 3.11 or newer") if sys.version_info < (3, 11) else None'
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(MAKE) --no-print-directory python-venv
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet -e . --group dev
	@touch $@

# Debian keeps the venv module in a package of its own.
.PHONY: python-venv
python-venv:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -q && apt-get install -q -y python3-venv; \
	else \
	  echo 'The Python module "venv" is missing. On Debian: sudo apt-get install python3-venv' >&2; exit 1; \
	fi

# Programs that tests talk to. Without them those tests are skipped, and say so. RUNLEVEL=1 (invoke-rc.d(8)) keeps
# services that come with them from being started.
test-tools:
	@missing=; \
	for pair in nginx:nginx-light strace:strace rsync:rsync ssh-keygen:openssh-client gpg:gnupg zstd:zstd \
	  dpkg-scanpackages:dpkg-dev faketime:faketime pg_lsclusters:postgresql sshd:openssh-server sudo:sudo git:git age:age \
	  dot:graphviz ip:iproute2 runsvdir:runit systemctl:systemd crontab:cron unzip:unzip rclone:rclone zsh:zsh fish:fish; do \
	  PATH="$$PATH:/usr/sbin" command -v "$${pair%%:*}" >/dev/null || missing="$$missing $${pair##*:}"; \
	done; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -q && RUNLEVEL=1 apt-get install -q -y --no-install-recommends $$missing; \
	else \
	  echo "Some tests will be skipped; they need:$$missing" >&2; \
	fi
	@if [ ! -x $(BIN)/buildifier ] && command -v npm >/dev/null; then \
	  npm install --silent --no-save --prefix .venv/npm @bazel/buildifier@8.2.1 && \
	  ln -s ../npm/node_modules/.bin/buildifier $(BIN)/buildifier || \
	  echo "The form of Starlark files is not tested: npm could not fetch buildifier" >&2; \
	fi
