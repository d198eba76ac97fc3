# Targets are one line each; the work is done by deploy/local and by the tools they call.
# Relative paths throughout, so that a clone may lie below a folder with spaces in its name.

PYTHON ?= python3
BIN := .venv/bin
T ?= tests
# The tests wait for processes part of the time: four parallel runs, each with its own engines, keep two cores busy.
RUNS := $(if $(filter tests,$(T)),-n 4 --dist loadfile --durations=20)

# Do not pass PYTHON* and locale variables of the caller's shell to any target.
FOREIGN := $(filter PYTHON% LC_% LANG LANGUAGE,$(.VARIABLES))
unexport $(foreach name,$(FOREIGN),$(if $(filter environment,$(origin $(name))),$(name)))

.DEFAULT_GOAL := help
.PHONY: help run demo chaos bench monitor alerts-prove stop clean test test-fast coverage mutants drills fuzz audit performance problems guarantees readmes manifests lint format schema engines currencies doctor smoke image pin-images sbom microk8s-deploy microk8s-delete programs dashboards compose-up compose-down restore-drill deploy-rehearsal

##@ Use

run: .venv/.installed  ## Start everything on this machine and stay in the foreground (HA=1 on clusters; Ctrl-C stops it)
	@$(BIN)/python -m deploy.local run

demo: .venv/.installed  ## Send one real transfer, show its timeline, prove that the money moved once
	@$(BIN)/python -m deploy.local demo

chaos: engines  ## Inject faults under load, check that no money is lost or duplicated (SEED= ROUNDS= ONLY= HA=1)
	@$(BIN)/python -m tests.chaos

alerts-prove: programs  ## Cause every alert on a private stack, wait for its notification and its end, in an hour (ONLY="names quiet kills" HOLD= QUIET=)
	@$(BIN)/python -m tests.alerts

bench: engines  ## Measure rates and costs against PostgreSQL alone, in 3 minutes (FULL=1 ONLY= PROFILE=1 BENCH_SECONDS= BENCH_CONCURRENCY=)
	@$(BIN)/python -m tests.performance

monitor: .venv/.installed  ## Run Prometheus, Alertmanager and exporters beside the stack of make run, print their addresses
	@$(BIN)/python -m deploy.monitoring monitor

stop: .venv/.installed  ## Stop what make run started
	@$(BIN)/python -m deploy.local stop

clean: .venv/.installed  ## Remove .payflow/ with all its data, after a confirmation (YES=1: without)
	@$(BIN)/python -m deploy.local clean

##@ Develop

test: programs  ## Run all tests, or those below T=path
	@$(BIN)/python -m pytest $(RUNS) $(T)

test-fast: .venv/.installed  ## Run the tests that need no engines: unit, contracts, simulation, tidy, deploy (under a minute)
	@$(BIN)/python -m pytest -n 2 --dist loadfile tests/unit tests/contracts tests/simulation tests/tidy tests/deploy

drills: T := tests/chaos tests/integration/test_broker.py tests/e2e/test_live_events.py tests/e2e/test_monitoring.py tests/e2e/test_trace_hops.py tests/integration/payflow/test_cli.py \
	tests/e2e/test_money.py::test_thousands_of_transfers \
	tests/e2e/test_expectations.py::test_nothing_is_expected_while_a_job_is_stale
drills: programs  ## Run the numbered fault drills with their full numbers (T=path for one of them; three hours for all)
	@PAYFLOW_DRILLS=full $(BIN)/python -m pytest -o timeout=1800 -rP $(T)

mutants: engines  ## Remove each guard in turn from a copy of the tree: a check must fail; ONLY="name name" for some
	@$(BIN)/python -m tests.mutation $(ONLY)

lint: .venv/.installed  ## Check format, style, types, import boundaries and the subjects of new commits (BASE=origin/main)
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports
	@$(BIN)/hadolint deploy/image/Dockerfile
	@$(BIN)/python -m tests.tidy.commit_subjects

format: .venv/.installed  ## Format the code
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

fuzz: engines  ## Fuzz every operation of the API with requests generated from its document, at length
	@PAYFLOW_DRILLS=full $(BIN)/python -m pytest -s tests/e2e/test_fuzzed.py

audit: .venv/.installed  ## Check the locked packages for known vulnerabilities
	@$(BIN)/python -m deploy.package_audit

performance: .venv/.installed  ## Write the tables of docs/performance.md from the last run of make bench
	@$(BIN)/python -m tests.performance.page

problems: .venv/.installed  ## Write docs/problems.md from the codes that the gateway documents
	@$(BIN)/python -m tests.harness.write_problems

coverage: T := tests/unit tests/contracts tests/integration tests/e2e
coverage: engines  ## Measure the branch coverage of services, payflow and deploy by their tests (T=path for some of them)
	@$(BIN)/coverage erase && $(BIN)/coverage run -m pytest $(T)
	@$(BIN)/coverage combine --quiet && $(BIN)/coverage report $(if $(filter command line,$(origin T)),--fail-under=0)

readmes: .venv/.installed  ## Write the tables of services/*/README.md from the code
	@$(BIN)/python -m tests.harness.write_readmes

manifests: .venv/.installed  ## Write the alert rules of monitoring/ as a Kubernetes manifest
	@$(BIN)/python -m tests.harness.write_manifests

guarantees: .venv/.installed  ## Write docs/guarantee-tests.md from the docstrings of the tests
	@$(BIN)/python -m tests.harness.write_guarantees

dashboards: .venv/.installed  ## Write monitoring/grafana/dashboards/ from deploy/monitoring/
	@$(BIN)/python -m deploy.monitoring dashboards

currencies: .venv/.installed  ## Write services/contracts/currencies.py from the locked list of ISO 4217
	@$(BIN)/python -m tests.harness.write_currencies

schema: engines  ## Write services/*/sql/schema.sql from the migrations
	@$(BIN)/python -m tests.harness.write_schemas

##@ Deploy

# Only what is given to this call of make names a cluster, never a variable of the shell.
K8S_CONTEXT = $(if $(filter command line,$(origin CONTEXT)),--context="$(CONTEXT)")

doctor: .venv/.installed  ## Check a deployment: TARGET=local, compose or microk8s; BEFORE=1 before it is started (JSON=1)
	@$(BIN)/python -m deploy.doctor $(or $(TARGET),local) $(K8S_CONTEXT) $(if $(BEFORE),--before) $(if $(JSON),--json)

smoke: .venv/.installed  ## Complete one transfer of two new users through the address URL= (JSON=1)
	@$(BIN)/python -m deploy.smoke $(if $(JSON),--json) "$(URL)"

compose-up: .venv/.installed  ## Start everything with Docker Compose and wait until it serves (DEMO=1 MONITORING=1 BACKUP=1)
	@$(BIN)/python -m deploy.compose up

compose-down: .venv/.installed  ## Stop what make compose-up started (VOLUMES=1: remove its data, after a confirmation; YES=1: without)
	@$(BIN)/python -m deploy.compose down

image: .venv/.installed  ## Build the image payflow:dev with Docker (PAYFLOW_IMAGE= for another name, EXTRA=otel for tracing)
	@$(BIN)/python -m deploy.image build

pin-images: .venv/.installed  ## Write the digests of all base, engine and monitoring images; needs Docker and the internet
	@$(BIN)/python -m deploy.image pin

sbom: .venv/.installed  ## Write the bill of materials of the image's Python packages to dist/ (CycloneDX; EXTRA= as for image)
	@$(BIN)/python -m deploy.image sbom

microk8s-deploy: .venv/.installed  ## Deploy to MicroK8s on this machine (HOST= TLS=1 PAYFLOW_IMAGE=), or to the cluster CONTEXT=
	@$(BIN)/python -m deploy.k8s $(K8S_CONTEXT) deploy $(if $(filter command line,$(origin HOST)),--host="$(HOST)") $(if $(filter command line,$(origin TLS)),--tls="$(TLS)")

microk8s-delete: .venv/.installed  ## Remove what make microk8s-deploy made except the data, after a confirmation (YES=1: without)
	@$(BIN)/python -m deploy.k8s $(K8S_CONTEXT) delete

restore-drill: engines  ## Destroy the database server under load, restore it from its backups, account for every payment (SEED=)
	@$(BIN)/python -m tests.chaos.restore_drill

deploy-rehearsal: .venv/.installed  ## Build the image and run the Compose file on podman: pay, kill, pay again, take it down (as root)
	@$(BIN)/python -m deploy.rehearsal

##@ Set up (other targets do it when needed)

engines: .venv/.installed  ## Install PostgreSQL, RabbitMQ and Redis from the OS packages if missing; starts nothing
	@$(BIN)/python -m deploy.local install

programs: .venv/.installed  ## Install those and what only tests need (Prometheus, Alertmanager, exporters); starts nothing
	@$(BIN)/python -m deploy.local install-all

# The scripts in .venv contain its path, and so does the stamp: after a move of the clone they are created again.
MOVED := $(shell test "$$(cat .venv/.installed 2>/dev/null)" = "$$(pwd -P)" || echo moved)
.PHONY: moved

.venv/.installed: uv.lock pyproject.toml $(MOVED)
	@$(PYTHON) -m deploy.local.bootstrap

help:  ## Show this list
	@awk -f deploy/local/help.awk $(MAKEFILE_LIST)
