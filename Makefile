# What a newcomer needs: make demo, make test.
PYTHON ?= python3
# test-oldest sets other values for the oldest supported Airflow.
VENV := .venv
CONSTRAINTS := constraints/dev.txt
BIN := $(VENV)/bin
# Azure's emulator. Newer versions need a newer Node.js than Debian's.
AZURITE := azurite@3.33.0
# Doubles of Amazon Kinesis.
KINESIS := kinesalite@3.3.3 kinesis-local@0.6.2
# What finds violations of WCAG on the page.
AXE := axe-core@4.14.1
HOURS ?= 6
ONCE ?=
# With LAKE=iceberg, the demo also loads Iceberg tables, which chDB reads.
LAKE ?=
DAYS ?= 30
SEED ?= 1
# What simulate loads into tables: one event type, and of more than a month one week in each; or all.
LOADS ?= one
# With SEEDS=200, simulate runs the seeds 1 to 200, or of these one part.
SEEDS ?=
SHARD ?= 1/1
MINUTES ?= 60
ROWS ?= 5000000
SAMPLES := tests/integration/test_sample_dags.py
# The tests that depend on Airflow's version: its UI, API, scheduler and forms, and its classes that ours derive from.
# The others take the same path on every version. The wheel's tests run the sample DAG on each.
OF_AIRFLOW := $(patsubst %,tests/integration/test_%.py,connection_form coverage_page deadline_dag load_event_dags partitioned_dags) \
  $(SAMPLES)::test_every_sample_dag_is_read_without_errors_and_has_its_edges \
  $(SAMPLES)::test_the_verify_dag_copies_again_what_was_removed \
  $(patsubst %,tests/test_%.py,alive_sensor fleet_models_operator form freshness_operator hooks load_events load_operators operators \
  provider_info reconcile_operator sensors several_oems triggers warehouse_operators) \
  tests/destinations/test_azure.py tests/destinations/test_aws_connections.py tests/test_filesystem.py \
  tests/cli/test_init.py
# What test-dates runs, and when it imports modules: the end of a leap February, New Year, and an hour before which the
# local cloud's fleet has no registrations.
AT_DATES := $(wildcard tests/domain/test_*.py) $(patsubst %,tests/test_%.py,load_operators sensors triggers \
  absence_everywhere verify_operator)
DATES := 2028-02-29T23:30+00:00 2027-01-01T00:10+00:00 2026-11-28T14:30+00:00
# Tests with a real Airflow mostly wait, so three processes keep two cores busy.
WORKERS ?= 3
# Packages and documents are built and checked in a separate environment, without Airflow.
RELEASE := .venv-release/bin
# The newest commit's time, so that the same commit gives the same files. Without git, hatchling uses its own time.
SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null)
# The Airflow version that test-wheel installs, and its constraints.
AIRFLOW ?= 3.3
CONSTRAINTS_3.1 := constraints/oldest.txt
CONSTRAINTS_3.2 := constraints/3.2.txt
CONSTRAINTS_3.3 := constraints/dev.txt
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/pip install --quiet
COMMA := ,
# Variables, because a comma would begin another argument of the function below.
TESTED := .[google,warehouse,postgres,iceberg,delta]
# The demo's stream, a double of Kinesis, needs npm.
DEMO := .[warehouse$(if $(shell command -v npm),$(COMMA)kinesis)]
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python
# uv takes seconds where pip takes minutes. It doesn't read pip's settings, such as a company's index. If it fails, pip
# does the same.
install = @$(UV) --constraint $(CONSTRAINTS) $(1) 2>/dev/null || $(PIP) --constraint $(CONSTRAINTS) $(1)

# All of a file with hashes, and nothing else.
install_all = @$(UV) --require-hashes --requirement $(CONSTRAINTS) 2>/dev/null || $(PIP) --require-hashes --requirement $(CONSTRAINTS)

# Images for containers often set this. But then each Python process compiles all of Airflow again, for seconds of a core,
# because uv installs sources alone.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help demo simulate soak test test-oldest test-dates test-doubles test-double test-wheel test-dbt day-one dist docs judges release lint workflows format bench gate prove robustness mutation coverage fuzz screenshots clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

demo: $(VENV)/.demo $(if $(LAKE),$(VENV)/.lake judges) $(if $(shell command -v npm),.kinesis/$(lastword $(KINESIS))) ## Run the main job: a local Ayla cloud, a real Airflow (HOURS=6; ONCE=1 checks and exits; LAKE=iceberg)
	@$(BIN)/python -m demo --hours $(HOURS) $(if $(ONCE),--once) $(if $(LAKE),--lake $(LAKE))

simulate: $(VENV)/.lake ## Simulate late files, crashes, and faults, and compare with the answer key (DAYS=30 SEED=1 LOADS=one; SEEDS=200 SHARD=1/2)
	@$(BIN)/python -m simulation --days $(DAYS) --seed $(SEED) --loads $(LOADS) $(if $(SEEDS),--seeds $(SEEDS) --shard $(SHARD))

soak: $(VENV)/.demo ## Simulate weeks in the same processes; nothing may grow (MINUTES=60)
	@$(BIN)/python -m simulation.soak --minutes $(MINUTES)

test: $(VENV)/.test judges $(if $(shell command -v npm),.azurite/$(AZURITE) .kinesis/$(lastword $(KINESIS)) .axe/$(AXE)) ## Run the tests (TESTS="-k wait" for some, CI=1 for all)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(TESTS)

test-oldest: ## Run the tests that depend on Airflow's version with the oldest supported one (TESTS=tests for all)
	@$(MAKE) --no-print-directory test VENV=.venv-oldest CONSTRAINTS=constraints/oldest.txt TESTS="$(or $(TESTS),$(OF_AIRFLOW) -m 'not any_airflow')"

# One process for each date, side by side: each imports Airflow once.
test-dates: $(VENV)/.test ## Run some tests at other dates (TESTS="..." for others)
	@logs=$$(mktemp -d); pids=; status=0; \
	for date in $(DATES); do \
	  TEST_DATE=$$date $(BIN)/python -m pytest $(or $(TESTS),$(AT_DATES)) >$$logs/$$date 2>&1 & pids="$$pids $$!"; \
	done; \
	for pid in $$pids; do wait $$pid || status=1; done; \
	tail -n +1 $$logs/*; rm -r $$logs; exit $$status

test-doubles: ## Run the tests of BigQuery and Snowflake against doubles, without Airflow
	@$(MAKE) --no-print-directory test-double VENV=.venv-doubles/bigquery CONSTRAINTS=constraints/doubles.txt
	@$(MAKE) --no-print-directory test-double VENV=.venv-doubles/snowflake CONSTRAINTS=constraints/doubles.txt

# What tests/conftest.py prepares needs Airflow; and bqemulator's plugin for pytest needs Docker.
test-double: $(VENV)/.double
	@$(BIN)/python -m pytest --confcutdir tests/doubles -p no:bqemulator $(or $(TESTS),tests/doubles)

test-dbt: $(VENV)/.test ## Build the package for dbt, in DuckDB and PostgreSQL, also with Cosmos, and compare its models with the operator's
	@$(MAKE) --silent --no-print-directory VENV=.venv-dbt CONSTRAINTS=constraints/dbt.txt .venv-dbt/.dbt
	@$(MAKE) --silent --no-print-directory VENV=.venv-cosmos CONSTRAINTS=constraints/cosmos.txt .venv-cosmos/.cosmos
	@DBT_REQUIRED=1 $(BIN)/python -m pytest $(or $(TESTS),tests/test_dbt_build.py)
	$(if $(TESTS),,@.venv-cosmos/bin/python -m pytest --confcutdir tests/cosmos tests/cosmos)

test-wheel: dist ## Install the wheel into an empty Airflow, and test it there (AIRFLOW=3.1, 3.2, 3.3; TESTS=tests for all)
	@.ci/test-wheel $(CONSTRAINTS_$(AIRFLOW)) $(TESTS)

day-one: dist ## Install the wheel with pip, and measure the way to the first verified hour (AIRFLOW=3.1, 3.2, 3.3)
	@.ci/day-one $(CONSTRAINTS_$(AIRFLOW))

dist: release ## Build sdist and wheel into dist/, the same bytes each time, and check them
	@rm -rf dist
	@$(RELEASE)/validate-pyproject pyproject.toml
	@$(if $(SOURCE_DATE_EPOCH),SOURCE_DATE_EPOCH=$(SOURCE_DATE_EPOCH)) $(RELEASE)/python -m build --no-isolation --outdir dist .
	@$(RELEASE)/twine check --strict dist/*
	@$(RELEASE)/check-wheel-contents dist
	@$(RELEASE)/python .ci/check-sbom dist

docs: release ## Build the site of the documents into site/; a warning is an error
	@NO_MKDOCS_2_WARNING=1 $(RELEASE)/mkdocs build --strict

# Installed once; then this takes no time.
judges:
	@$(MAKE) --silent --no-print-directory VENV=.venv-judges CONSTRAINTS=constraints/judges.txt .venv-judges/.judges

release:
	@$(MAKE) --no-print-directory VENV=.venv-release CONSTRAINTS=constraints/release.txt .venv-release/.release

lint: $(VENV)/.test workflows ## Check style, types, which layer imports which, and GitHub's workflows
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo --no-cache

# With GH_TOKEN in the environment, zizmor also asks GitHub about each action.
workflows: release
	@$(RELEASE)/actionlint -no-color
	@$(RELEASE)/zizmor --no-progress --quiet $(if $(GH_TOKEN),,--offline) .github

format: $(VENV)/.test ## Format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(VENV)/.bench $(if $(shell command -v npm),.azurite/$(AZURITE) .kinesis/$(lastword $(KINESIS))) ## Measure copies, detection, parsing, streams, typing and loading, beside other tools (ROWS=5000000)
	@$(BIN)/python -m benchmarks --rows $(ROWS)

gate: $(VENV)/.test ## Compare requests and CPU time of the main steps with what is recorded (RECORD=1 to record)
	@$(BIN)/python -m benchmarks.gate $(if $(RECORD),--record)

prove: $(VENV)/.test ## Run the proofs of scale and of many seeds, and write their results into proofs/ (TESTS="..." for some, SHARD=1/40 for a part)
	@$(BIN)/python -m proofs --shard $(SHARD) $(TESTS)

fuzz: $(VENV)/.test ## Fuzz each parser, with atheris if it is installed (TARGET=manifests SECONDS=60)
	@$(BIN)/python -m fuzz $(TARGET) --seconds $(or $(SECONDS),60)

robustness: $(VENV)/.test ## Type 2,000 polluted files, and print how many lines get their right outcome (FILES=2000 SEED=1)
	@$(BIN)/python -m robustness --files $(or $(FILES),2000) --seed $(SEED)

mutation: $(VENV)/.mutation ## Score the tests by small faults in the code that they notice (AREA=guard SHARE=100 AGAIN=1)
	@$(BIN)/python -m mutation $(AREA) $(if $(SHARE),--share $(SHARE)) $(if $(AGAIN),--again)

coverage: $(VENV)/.test ## Run the tests in tests/domain, and show which lines and branches of domain/ they leave out
	@$(BIN)/coverage run -m pytest --quiet tests/domain
	@$(BIN)/coverage report

screenshots: $(VENV)/.test ## Take the pictures of README and docs again (needs Chromium and its driver)
	@$(BIN)/python -m demo.screenshots

clean: ## Remove what the other targets made
	rm -rf .import_linter_cache .venv .venv-oldest .venv-doubles .venv-judges .venv-cosmos .venv-dbt .venv-release .azurite .kinesis .axe .demo dist site .mypy_cache .mutation .pytest_cache .ruff_cache .hypothesis

$(VENV)/.pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12"; exit 1; }
	@echo "Creating $(VENV), for some seconds ..."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes --requirement constraints/pip.txt
	@touch $@

$(VENV)/.demo: $(VENV)/.pip pyproject.toml $(CONSTRAINTS)
	@echo "Installing Airflow and the provider into $(VENV), for up to a minute ..."
	$(call install,--editable '$(DEMO)')
	@touch $@

$(VENV)/.lake: $(VENV)/.demo
	$(call install,--editable '.[iceberg$(COMMA)delta]')
	@touch $@

$(VENV)/.test: $(VENV)/.demo
	@echo "Installing what the tests need into $(VENV), for up to a minute ..."
	$(call install,--editable '$(TESTED)' --group dev)
	@touch $@

# Without npm the tests that need it are skipped.
.azurite/$(AZURITE):
	@echo "Installing Azure's emulator into .azurite, for half a minute ..."
	@mkdir -p .azurite
	@npm install --prefix .azurite --silent --ignore-scripts --no-audit --no-fund --no-package-lock $(AZURITE)
	@touch $@

.kinesis/$(lastword $(KINESIS)):
	@echo "Installing doubles of Kinesis into .kinesis, for a few seconds ..."
	@mkdir -p .kinesis
	@npm install --prefix .kinesis --silent --ignore-scripts --no-audit --no-fund --no-package-lock $(KINESIS)
	@touch $@

.axe/$(AXE):
	@mkdir -p .axe
	@npm install --prefix .axe --silent --ignore-scripts --no-audit --no-fund --no-package-lock $(AXE)
	@touch $@

$(VENV)/.bench: $(VENV)/.test
	$(call install,--group bench)
	@touch $@

$(VENV)/.mutation: $(VENV)/.test
	$(call install,--group mutation)
	@touch $@

$(VENV)/.double: $(VENV)/.pip pyproject.toml $(CONSTRAINTS)
	@echo "Installing a double into $(VENV), for half a minute ..."
	$(call install,--group doubles-$(notdir $(VENV)))
	@touch $@

$(VENV)/.judges: $(VENV)/.pip pyproject.toml $(CONSTRAINTS)
	@echo "Installing readers of Iceberg and Delta into $(VENV), for half a minute ..."
	$(call install,--group judges)
	@touch $@

$(VENV)/.dbt: $(VENV)/.pip pyproject.toml $(CONSTRAINTS)
	@echo "Installing dbt into $(VENV), for half a minute ..."
	$(call install,--group dbt)
	@touch $@

$(VENV)/.cosmos: $(VENV)/.pip pyproject.toml $(CONSTRAINTS)
	@echo "Installing Airflow and Cosmos into $(VENV), for up to a minute ..."
	$(call install,--editable '.[warehouse]' --group cosmos)
	@touch $@

$(VENV)/.release: $(VENV)/.pip pyproject.toml $(CONSTRAINTS)
	@echo "Installing what builds packages and documents into $(VENV), for a few seconds ..."
	$(call install_all)
	@touch $@
