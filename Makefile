# Everything is installed into this checkout: .venv (the project), .venv-aws (the local AWS accounts), .venv-oldest,
# .venv-3.0, .airflow (Airflow's home). `make clean` removes all of it.
PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
SHELL := /bin/bash

# The caller's own AWS settings, Airflow and Python path have no business here.
unexport $(filter AWS_% AIRFLOW% PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE VIRTUAL_ENV,$(.VARIABLES))
export AWS_CONFIG_FILE := /dev/null
export AWS_SHARED_CREDENTIALS_FILE := /dev/null
export AWS_EC2_METADATA_DISABLED := true
export PYTHONNOUSERSITE := 1

.PHONY: help install demo test test-faults test-oldest test-distributed test-browser unit check up bench lock clean
help:
	@echo 'make demo   archive three days of logs between two local AWS accounts, in real Airflow'
	@echo 'make test   run all tests'
	@echo 'make test-faults  break the network, the disk and the tasks, and see that nothing is lost or twice'
	@echo 'make test-oldest  run the tests that need no server, the daily DAG and the page on the oldest supported Airflow'
	@echo 'make test-distributed  run the daily DAG on Celery: two workers, PostgreSQL and Redis'
	@echo 'make test-browser  look at Airflow in Chromium: its forms, and the page of this package'
	@echo 'make unit   run the tests that need no server, in seconds'
	@echo 'make check  lint, complexity, docstrings, types, the direction of imports, templates'
	@echo 'make up     the Airflow UI over the two local accounts'
	@echo 'make bench  measure, side by side with other tools'
	@echo 'make lock   regenerate constraints.txt, constraints-oldest.txt and the lock files in dev/'
	@echo 'make clean  remove everything that make has created'

install: .venv/installed .venv-aws/installed

# A stamp holds the files it was made from: nothing is installed again when nothing changed.
.venv/installed: requirements.txt requirements-dev.txt constraints.txt Makefile
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=/path/to/python3")'
	@echo 'installing the project into .venv (once; about 800 MB on disk) ...'
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --no-cache-dir --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --no-cache --compile-bytecode --python $(BIN)/python -r requirements-dev.txt -c constraints.txt
	@touch $@

.venv-aws/installed: dev/local_aws/ministack.lock .venv/installed
	@echo 'installing the local AWS accounts into .venv-aws ...'
	@$(PYTHON) -m venv --clear .venv-aws
	@$(BIN)/uv pip install --quiet --no-cache --python .venv-aws/bin/python -r dev/local_aws/ministack.lock
	@touch $@

.venv-oldest/installed: requirements-oldest.txt constraints-oldest.txt .venv/installed
	@echo 'installing the oldest supported Airflow into .venv-oldest ...'
	@$(PYTHON) -m venv --clear .venv-oldest
	@$(BIN)/uv pip install --quiet --no-cache --compile-bytecode --python .venv-oldest/bin/python -r requirements-oldest.txt \
		-c constraints-oldest.txt
	@touch $@

.venv-3.0/installed: dev/airflow_3_0.lock .venv/installed
	@echo 'installing Airflow 3.0, for the operators, into .venv-3.0 ...'
	@$(PYTHON) -m venv --clear .venv-3.0
	@$(BIN)/uv pip install --quiet --no-cache --compile-bytecode --python .venv-3.0/bin/python -r $<
	@touch $@

demo: install
	@$(BIN)/python -m dev.demo

up: install
	@$(BIN)/python -m dev.demo.up $(ARGS)

test: install
	@$(BIN)/python -m pytest $(ARGS)

test-faults: install
	@$(BIN)/python -m pytest tests/faults $(ARGS)

# Left out: what is about the repository's own files, and backfills, which are refused on this Airflow.
OLDEST_DAILY := tests/integration/airflow/test_archive_logs.py
OTHER_TEAM := tests/integration/airflow/test_interval_dag.py
OLDEST := tests/unit tests/integration/layouts tests/integration/ui $(OLDEST_DAILY) tests/integration/airflow/test_notify.py \
	$(OTHER_TEAM) \
	tests/browser/test_log_archive_page.py::test_page_archives_a_missing_day_from_its_own_view
test-oldest: install .venv-oldest/installed .venv-3.0/installed
	@.venv-oldest/bin/python -m pytest $(OLDEST) --hypothesis-profile quick --screenshots build/screenshots-oldest \
		--ignore tests/unit/test_own_role_page.py --ignore tests/unit/test_imports.py \
		--deselect $(OLDEST_DAILY)::test_backfill_archives_each_day_and_a_second_adds_nothing \
		--deselect $(OLDEST_DAILY)::test_dry_run_logs_the_plan_and_adds_nothing $(ARGS)
	@.venv-3.0/bin/python -m pytest tests/unit/operators tests/unit/reader $(OTHER_TEAM) \
		tests/integration/layouts/test_layouts.py::test_dag_of_another_team_loads --hypothesis-profile quick $(ARGS)

test-distributed: install
	@$(BIN)/python -m pytest tests/distributed -n 0 $(ARGS)

test-browser: install
	@$(BIN)/python -m pytest tests/browser -n 0 $(ARGS)

unit: install
	@$(BIN)/python -m pytest tests/unit --dist worksteal --hypothesis-profile quick $(ARGS)

check: install
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=plugins $(BIN)/lint-imports --no-cache
	@$(BIN)/cfn-lint include/cloudformation/*.yaml

bench: install
	@PYTHONPATH=plugins $(BIN)/python -m tests.bench $(ARGS)

lock: .venv/installed
	@$(BIN)/uv pip compile --quiet --no-cache --universal --python-version 3.11 --upgrade --no-annotate --no-header \
		requirements-dev.txt -o constraints.txt
	@$(BIN)/uv pip compile --quiet --no-cache --universal --python-version 3.11 --upgrade --no-annotate --no-header \
		requirements-oldest.txt -o constraints-oldest.txt
	@$(BIN)/uv pip compile --quiet --no-cache --universal --python-version 3.11 --upgrade --no-annotate --no-header \
		dev/local_aws/ministack.txt -o dev/local_aws/ministack.lock
	@$(BIN)/uv pip compile --quiet --no-cache --universal --python-version 3.11 --upgrade --no-annotate --no-header \
		dev/airflow_3_0.txt -o dev/airflow_3_0.lock

clean:
	rm -rf .venv .venv-aws .venv-bench .venv-oldest .venv-3.0 .airflow .demo .pytest_cache .mypy_cache .ruff_cache build bench.json
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
