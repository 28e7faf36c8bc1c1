# Everything a person does with this repository. `make` alone lists it.
# A target makes the environments it needs; a second run reuses what is there.

.DEFAULT_GOAL := help
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory

# Settings of this checkout (see .env.example).
ifneq ($(wildcard .env),)
include .env
export $(shell sed -n 's/^\([A-Z_]*\)=.*/\1/p' .env)
endif

PYTHON ?= python3
EVENTS ?= 200000
LOCALAWS_PORT ?= 4566
AIRFLOW_PORT ?= 8080
SCHEDULE ?= 0
ENV ?= dev
# Airflow and the embedded AWS agree on a region, whatever the shell is set to.
AWS_REGION := us-east-1
export EVENTS LOCALAWS_PORT AIRFLOW_PORT SCHEDULE AWS_REGION

RUN := .venv/bin/python -m
AIRFLOW := $(RUN) scripts.airflow_server
LOCALAWS := .venv-localaws/bin/python -m localaws

# A stamp is younger than the pins its environment was made from.
TOOLS_ENV := .venv-tools/.stamp
AIRFLOW_ENV := .venv/.stamp
DEV_ENV := .venv/.stamp-dev
LOCALAWS_ENV := .venv-localaws/.stamp
CHECK_ENV := .venv-check/.stamp

##@ Run
demo: $(AIRFLOW_ENV) $(LOCALAWS_ENV) ## The whole pipeline on a day of traffic (EVENTS=200000)
	@PYTHONPATH=plugins $(RUN) scripts.demo

up: provision $(AIRFLOW_ENV) ## Start Airflow and the embedded AWS, and leave them running
	@$(AIRFLOW) start
	@echo "Airflow: http://127.0.0.1:$(AIRFLOW_PORT) - embedded AWS: http://127.0.0.1:$(LOCALAWS_PORT) - stop both: make down"

live: provision ## The demo shop on http://127.0.0.1:8000; a purchase alerts here within seconds
	@PYTHONPATH=plugins $(RUN) scripts.live

down: ## Stop Airflow and the embedded AWS, and only them
	@status=0; \
	if [ -f $(AIRFLOW_ENV) ]; then $(AIRFLOW) stop || status=1; fi; \
	if [ -f $(LOCALAWS_ENV) ]; then $(LOCALAWS) stop || status=1; fi; \
	exit $$status

status: $(AIRFLOW_ENV) $(LOCALAWS_ENV) ## Say what runs
	@status=0; $(AIRFLOW) status || status=1; $(LOCALAWS) status || status=1; exit $$status

logs: ## Follow the logs of what runs (Ctrl-C ends)
	@set -- .airflow/logs/*.log .localaws/*.log; \
	for log; do [ ! -f "$$log" ] || set -- "$$@" "$$log"; shift; done; \
	[ $$# -gt 0 ] || { echo "no logs yet; start something first (make up)" >&2; exit 1; }; \
	tail -n 5 -F "$$@"

aws: $(LOCALAWS_ENV) ## Start the embedded AWS alone (LOCALAWS_PORT=4566)
	@$(LOCALAWS) start

provision: aws $(AIRFLOW_ENV) ## Create the pipeline's resources in the embedded AWS (by Terraform, if it is here)
	@PYTHONPATH=plugins $(RUN) scripts.provision

##@ On AWS
deploy: $(AIRFLOW_ENV) ## Show what Terraform would change in ENV=dev, ask, apply it, upload the code
	@PYTHONPATH=plugins $(RUN) scripts.deploy deploy $(ENV)

destroy: $(AIRFLOW_ENV) ## Delete ENV=dev with all its data, after its name was typed
	@PYTHONPATH=plugins $(RUN) scripts.deploy destroy $(ENV)

env: $(AIRFLOW_ENV) ## Write the settings of ENV=dev to .env, for an Airflow of your own
	@PYTHONPATH=plugins $(RUN) scripts.deploy env $(ENV)

##@ Check
test: $(DEV_ENV) $(LOCALAWS_ENV) $(CHECK_ENV) ## The quick gates, then every test
	@.venv/bin/ruff check --quiet --output-format concise .
	@.venv/bin/ruff format --quiet --check .
	@JAVA_HOME=$$($(RUN) scripts.java_home) && export JAVA_HOME && \
		$(RUN) pytest --numprocesses 2 --no-loadscope-reorder

lint: $(DEV_ENV) ## ruff, mypy and sqlfluff over everything
	@.venv/bin/ruff check --quiet --output-format concise . && echo "ruff check: clean"
	@.venv/bin/ruff format --quiet --check . && echo "ruff format: clean"
	@.venv/bin/mypy
	@.venv/bin/sqlfluff lint sql

terraform-check: $(DEV_ENV) $(LOCALAWS_ENV) $(CHECK_ENV) ## checkov, the policy rules, and every mutant of terraform/ (30 minutes)
	@PYTHONPATH=plugins $(RUN) tests.terraform.campaign

terraform-local: $(AIRFLOW_ENV) $(LOCALAWS_ENV) ## terraform/ applied to an embedded AWS of its own, used and destroyed
	@PYTHONPATH=plugins $(RUN) scripts.terraform_local

upkeep-check: $(DEV_ENV) $(LOCALAWS_ENV) ## Erase, compact, replay by the real scheduler; permissions used against granted (an hour)
	@JAVA_HOME=$$($(RUN) scripts.java_home) && export JAVA_HOME && $(RUN) pytest -m campaign tests/e2e

live-check: $(DEV_ENV) $(LOCALAWS_ENV) ## A browser buys in the shop: the alert, and every event in the lake (5 minutes)
	@PYTHONPATH=plugins $(RUN) tests.e2e.live

fuzz-check: $(DEV_ENV) $(LOCALAWS_ENV) ## 100,000 bodies nobody would send, to the collector (a quarter of an hour)
	@FUZZ_EXAMPLES=100000 $(RUN) pytest -s tests/lambdas/test_collector_fuzz.py

backfill-check: $(DEV_ENV) $(LOCALAWS_ENV) ## Airflow's backfill of 30 days, two runs at a time, against one run (75 minutes)
	@PYTHONPATH=plugins $(RUN) tests.e2e.backfill

bench: $(DEV_ENV) $(LOCALAWS_ENV) ## Measure the speeds that the README names (minutes, on a lake of its own)
	@$(LOCALAWS) --home build/bench reset >/dev/null
	@$(LOCALAWS) --home build/bench start
	@JAVA_HOME=$$($(RUN) scripts.java_home) && export JAVA_HOME; \
	export AWS_ENDPOINT_URL=http://127.0.0.1:$(LOCALAWS_PORT); status=0; \
	for bench in tests/bench/bench_*.py; do \
		echo "$$bench"; .venv/bin/python "$$bench" || status=1; \
	done; \
	$(LOCALAWS) --home build/bench reset >/dev/null; exit $$status

##@ Change
format: $(DEV_ENV) ## Format Python and SQL
	@.venv/bin/ruff check --quiet --fix-only .
	@.venv/bin/ruff format --quiet .
	@.venv/bin/sqlfluff fix --quiet sql

lock: $(TOOLS_ENV) ## Compile requirements/*.in to hash-pinned *.txt (UPGRADE=1 takes newer versions)
	@for name in uv build airflow local dev check; do \
		.venv-tools/bin/uv pip compile --quiet --universal --python-version 3.11 \
			--generate-hashes --no-emit-index-url --no-header $(if $(UPGRADE),--upgrade) \
			requirements/$$name.in -o requirements/$$name.txt || exit 1; \
		echo "requirements/$$name.txt"; \
	done

docs: $(DEV_ENV) ## Write the generated pages (docs/dags.md)
	@$(RUN) scripts.dag_pages

##@ Clean
clean: down ## Remove build outputs and all local state (the lake, Airflow's database)
	@rm -rf build .airflow .localaws
	@find . -name __pycache__ -type d -not -path './.venv*' -prune -exec rm -rf {} +

clean-all: clean ## Remove the environments too
	@rm -rf .venv .venv-localaws .venv-check .venv-tools

help: ## This list
	@awk 'BEGIN { FS = ":.*## " } \
		/^##@ / { printf "\n%s\n", substr($$0, 5) } \
		/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo; echo "Knobs: EVENTS=$(EVENTS) LOCALAWS_PORT=$(LOCALAWS_PORT) AIRFLOW_PORT=$(AIRFLOW_PORT) SCHEDULE=$(SCHEDULE) ENV=$(ENV) PYTHON=$(PYTHON)"

$(TOOLS_ENV): requirements/uv.txt
	@command -v $(PYTHON) >/dev/null || { echo "there is no $(PYTHON): install Python 3.11 to 3.13" >&2; exit 1; }
	@$(PYTHON) scripts/bootstrap.py .venv-tools requirements/uv.txt
	@touch $@

$(AIRFLOW_ENV): requirements/airflow.txt requirements/build.txt $(TOOLS_ENV)
	@$(PYTHON) scripts/bootstrap.py .venv requirements/airflow.txt
	@touch $@

$(DEV_ENV): requirements/dev.txt $(AIRFLOW_ENV)
	@$(PYTHON) scripts/bootstrap.py .venv requirements/airflow.txt requirements/dev.txt
	@touch $@

$(LOCALAWS_ENV): requirements/local.txt requirements/build.txt $(TOOLS_ENV)
	@$(PYTHON) scripts/bootstrap.py .venv-localaws requirements/local.txt
	@touch $@

$(CHECK_ENV): requirements/check.txt requirements/build.txt $(TOOLS_ENV)
	@$(PYTHON) scripts/bootstrap.py .venv-check requirements/check.txt
	@touch $@

.PHONY: demo up live live-check down status logs aws provision deploy destroy env test lint terraform-check terraform-local upkeep-check fuzz-check backfill-check bench format lock docs clean clean-all help
