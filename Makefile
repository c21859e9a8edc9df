# The doors of the repository; `make` alone lists them. demo, up and test set the environment up themselves.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
SHOWN := .capabilities/shown.jsonl
MYPY_CACHE_DIR ?= .mypy_cache

.DEFAULT_GOAL := help
.PHONY: help setup demo demo-cluster up down test unit e2e test-cluster test-node images test-frameworks test-airflow test-clients
.PHONY: lint type format docs capabilities mutate bench minikube deploy undeploy clean

help: ## list the doors
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## create $(VENV) from the hashed lock (instant when nothing changed)
	@$(PYTHON) tools/setup.py $(VENV)

demo: setup ## watch a model go from data to production, survive a bad release and be caught drifting
	@$(BIN)/maestro demo

demo-cluster: setup ## the same story on the cluster that KUBECONFIG names, with pods killed in its midst (after `make minikube`)
	@$(BIN)/maestro demo --cluster --report demo/cluster

up: setup ## start the services and a first model in the background, print the URLs
	@$(BIN)/maestro up

down: setup ## stop what `make up` started
	@$(BIN)/maestro down

test: lint type docs unit ## everything that proves it: lint, types, docs and every test

unit: setup ## the tests alone
	@$(BIN)/python -m tools.unit unit $(SHOWN)

e2e: setup ## the whole platform as its users run it: the demo, the promised scripts, faults (after `make test`)
	@$(BIN)/python -m tools.unit e2e $(SHOWN) $(if $(ONLY),-k $(ONLY))

test-cluster: setup ## the manifests and controllers on the Kubernetes API server that KUBECONFIG names (SLOW=1: crashes at every step too)
	@$(BIN)/python -m tools.unit cluster $(SHOWN) $(if $(SLOW),,-m "cluster and not slow") $(if $(ONLY),-k $(ONLY))

images: setup ## build our images by docker, podman or buildah (ONLY="worker mlflow"; LOAD=1: into the cluster's nodes, too)
	@$(BIN)/python -m tools.images $(if $(LOAD),--load) $(addprefix --only ,$(ONLY))

test-node: setup ## the small platform on the node that KUBECONFIG names: pods start, train, serve, move traffic (after `make images LOAD=1`)
	@$(BIN)/python -m tools.unit node $(SHOWN) $(if $(ONLY),-k $(ONLY))

test-frameworks: ## PyTorch and TensorFlow, in an environment of their own (gigabytes)
	@$(PYTHON) tools/setup.py .venv-frameworks requirements/frameworks.lock
	@MAESTRO_TEST_FRAMEWORKS=1 .venv-frameworks/bin/python -m tools.unit frameworks $(SHOWN)

test-airflow: setup ## the DAGs in a real Airflow, in an environment of its own
	@$(PYTHON) tools/setup.py .venv-airflow requirements/airflow.lock
	@MAESTRO_TEST_AIRFLOW=1 MAESTRO_TEST_COMMAND=$(abspath $(BIN)/maestro) .venv-airflow/bin/python -m tools.unit airflow $(SHOWN)

test-clients: setup ## the official clients of the serving protocols, in an environment of their own
	@$(PYTHON) tools/setup.py .venv-clients requirements/clients.lock
	@MAESTRO_TEST_OIP_CLIENTS=$(abspath .venv-clients/bin/python) $(BIN)/python -m tools.unit clients $(SHOWN)

lint: setup ## style, format and layers
	@$(BIN)/ruff check --quiet . && $(BIN)/ruff format --check --quiet . && $(BIN)/lint-imports --no-logo

type: setup ## mypy, strict, tests included
	@$(BIN)/mypy --cache-dir=$(MYPY_CACHE_DIR)

format: setup ## rewrite the sources in the project's style
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format --quiet .

docs: setup ## check every number and every link of README and docs
	@$(BIN)/python -m tools.claims && $(BIN)/python -m tools.capabilities --check

capabilities: setup ## write the states of docs/capabilities.md from what the last `make test` showed
	@$(BIN)/python -m tools.capabilities $(SHOWN)

mutate: setup ## apply each named sabotage; the tests must notice every one
	@$(BIN)/python -m tools.mutate

bench: setup ## comparisons with peers, by hand
	@$(BIN)/python -m bench

minikube: setup ## apply the light platform to the cluster that KUBECONFIG names
	@$(BIN)/maestro platform apply --profile minikube

deploy: setup ## apply the production platform
	@$(BIN)/maestro platform apply --profile production

undeploy: setup ## remove what `make minikube` or `make deploy` applied; data stay
	@$(BIN)/maestro platform remove

clean: ## stop the services, remove outputs and caches (not $(VENV))
	@if [ -x $(BIN)/maestro ] && [ -d .maestro ]; then $(BIN)/maestro down; fi
	@rm -rf .maestro .capabilities .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo dist build
