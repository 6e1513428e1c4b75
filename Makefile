# Everything a person or a machine does with this checkout; `make help` lists it.
# The only thing that has to be there is Python 3.11 or newer: .venv is made by the first target that needs it.

SHELL := bash
.SHELLFLAGS := -o pipefail -c

PYTHON ?= $(shell for name in python3.14 python3.13 python3.12 python3.11 python3 python; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; done)
VENV ?= .venv
BIN := $(VENV)/bin
UV_VERSION := 0.13.9
CYCLONEDX_VERSION := 7.5.0
PIP_AUDIT_VERSION := 2.10.1
HELM ?= $(shell PATH="$$PATH:$$KUBEBUILDER_ASSETS" command -v helm)

.DEFAULT_GOAL := help
.PHONY: help run serve test test-cluster chaos bench-connections test-compiled test-identity e2e e2e-quiet kind-e2e check format bench bench-operator soak trial conformance dashboards reference golden lock build build-compiled image sbom scan clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: $(VENV)/.installed ## demo: embedded backend and proxy in one command
	@$(BIN)/mimic-proxy demo

serve: $(VENV)/.installed ## the proxy in front of the backend that .env names
	@$(BIN)/mimic-proxy serve

test: $(VENV)/.installed-dev ## all tests that need nothing but this machine
	$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

# Mostly they wait, each process for a control plane of its own; what a file shares is made once.
test-cluster: $(VENV)/.installed-dev ## tests on a real API server, which KUBEBUILDER_ASSETS names
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile $(CLUSTER_TESTS) $(ARGS)

CLUSTER_TESTS ?= tests/cluster

chaos: $(VENV)/.installed-dev ## five minutes of an API server that refuses, resets, delays and falls silent (KUBEBUILDER_ASSETS)
	MIMIC_CHAOS_SECONDS=$${MIMIC_CHAOS_SECONDS:-300} $(BIN)/python -m pytest -s tests/cluster/test_chaos.py $(ARGS)

# Most tests wait for processes and sockets: three workers keep two processors busy.
PARALLEL = --numprocesses 3 --dist worksteal

test-compiled: $(VENV)/.installed-dev ## the proxy's tests with its hot modules compiled (a C compiler, Python.h)
	rm -rf .cache/compiled
	MIMIC_COMPILE=1 $(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation \
		--target .cache/compiled .
	PYTHONPATH=$(CURDIR)/.cache/compiled $(BIN)/python -m pytest $(PARALLEL) tests/proxy tests/sdk $(ARGS)

# Keycloak is started once, for one process.
test-identity: $(VENV)/.installed-dev ## the grants against a real Keycloak (Java 17; downloads 160 MB, once)
	$(BIN)/python -m pytest --numprocesses 0 tests/identity $(ARGS)

# MIMIC_E2E_IMAGE is on its nodes already, under its own name and as MIMIC_E2E_NEXT_IMAGE (the same with -next). Tests
# that install and remove releases have the cluster to themselves; the others mostly wait for it, a few at once.
E2E_ALONE = tests/e2e/test_release_life.py
E2E = $(BIN)/python -m pytest --durations=30
e2e: $(VENV)/.installed-dev ## real pods, in the cluster of KUBECONFIG, which has the images and no Mimic yet
ifdef ARGS
	$(E2E) tests/e2e $(ARGS)
else
	$(E2E) tests/e2e --numprocesses 3 --dist worksteal --ignore $(E2E_ALONE)
	$(E2E) $(E2E_ALONE)
endif

e2e-quiet: $(VENV)/.installed-dev ## an installation left alone for 25 minutes (MIMIC_E2E_QUIET_MINUTES), in that cluster
	$(E2E) -s tests/e2e/long_quiet.py $(ARGS)

KIND_CLUSTER := mimic-e2e
KIND_CONFIG := .cache/$(KIND_CLUSTER).kubeconfig
kind-e2e: ## the same from nothing: a cluster of kind (docker, kind, kubectl, helm), the images, the tests, and all gone
	$(MAKE) image IMAGE=mimic:e2e
	docker tag mimic:e2e mimic:e2e-next
	docker build --tag mimic-example-python examples/kubernetes/python
	docker build --tag mimic-example-typescript examples/kubernetes/typescript
	mkdir -p .cache
	kind create cluster --name $(KIND_CLUSTER) --kubeconfig $(KIND_CONFIG) --wait 2m
	kind load docker-image --name $(KIND_CLUSTER) mimic:e2e mimic:e2e-next \
		mimic-example-python mimic-example-typescript
	KUBECONFIG=$(CURDIR)/$(KIND_CONFIG) MIMIC_E2E_IMAGE=mimic:e2e $(MAKE) e2e; \
		status=$$?; kind delete cluster --name $(KIND_CLUSTER); exit $$status

check: $(VENV)/.installed-dev ## lint, format, types, import contracts, the chart, generated files up to date
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/python -m observability --check
	$(BIN)/python -m reference --check
	@if [ -n "$(HELM)" ]; then for values in helm/*/ci/*.yaml; do \
		$(HELM) lint --strict --quiet --kube-version 1.35 "$${values%/ci/*}" --values "$$values" || exit 1; done; \
	elif [ "$$MIMIC_TEST_TOOLS" = required ]; then echo "helm is needed to lint the chart."; exit 1; \
	else echo "There is no helm: the chart was not linted."; fi

format: $(VENV)/.installed-dev ## put the code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

conformance: $(VENV)/.installed-dev ## the SDKs' own suites, LangChain, LlamaIndex, over each dialect
	$(BIN)/python -m tests.conformance $(ARGS)

bench: $(VENV)/.installed-dev ## Mimic against its peers, side by side
	$(BIN)/python -m bench $(ARGS)

bench-connections: $(VENV)/.installed-dev ## what 225,000 closed connections leave in memory (8 minutes)
	PYTHONPATH=tests $(BIN)/python -m bench.connections $(ARGS)

bench-operator: $(VENV)/.installed-dev ## the reconciler with 2,000 backends (KUBEBUILDER_ASSETS)
	PYTHONPATH=tests $(BIN)/python -m bench.operator_scale $(ARGS)

soak: $(VENV)/.installed-dev ## ten minutes under load while everything around it breaks (ARGS="--minutes 2")
	PYTHONPATH=tests $(BIN)/python -m tests.soak $(ARGS)

dashboards: $(VENV)/.installed-dev ## the chart's dashboards and rules, built anew from observability/
	$(BIN)/python -m observability

reference: $(VENV)/.installed-dev ## docs/reference, the chart's README and CustomResourceDefinition, anew from their declarations
	$(BIN)/python -m reference

golden: $(VENV)/.installed-dev ## the golden files of tests/controller, anew: look at the difference before you keep it
	@mkdir -p tests/controller/golden/render && rm -f tests/controller/golden/render/*.yaml
	@for file in examples/kubernetes/backends/*.yaml; do \
		MIMIC_IMAGE=registry.example.com/mimic:0.1.0 $(BIN)/mimic-operator render $$file \
			> tests/controller/golden/render/$${file##*/} || exit 1; done
	@git diff --stat -- tests/controller/golden

trial: $(VENV)/.installed-dev ## real models behind it (compiles one runtime, downloads two models)
	$(BIN)/python -m tests.trial $(ARGS)

lock: $(VENV)/.uv ## resolve the dependencies again (UPGRADE=1 takes newer ones)
	$(VENV)/uv/bin/uv pip compile -q $(LOCK_OPTIONS) --extra operator --group build -o requirements.lock pyproject.toml
	$(VENV)/uv/bin/uv pip compile -q $(LOCK_OPTIONS) --extra operator --group build --group compile -c requirements.lock -o requirements-build.lock pyproject.toml
	$(VENV)/uv/bin/uv pip compile -q $(LOCK_OPTIONS) --extra operator --group dev -c requirements-build.lock -o requirements-dev.lock pyproject.toml

# One lock for all platforms and Python versions; pip checks the hashes. It names no index: users have their own.
LOCK_OPTIONS = --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command 'make lock' $(if $(UPGRADE),--upgrade)

build: $(VENV)/.installed-dev ## source distribution and wheel, in dist/
	$(BIN)/python -m hatchling build

build-compiled: $(VENV)/.installed-dev ## a wheel for this platform and Python, hot modules compiled, in dist/
	MIMIC_COMPILE=1 $(BIN)/python -m hatchling build -t wheel

IMAGE ?= mimic:$(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
BUILDER ?= docker
image: ## the container image, by docker or BUILDER=buildah; IMAGE names it, BUILD_ARGS="--build-arg BASE_IMAGE=..."
	$(BUILDER) build --tag $(IMAGE) --build-arg REVISION=$$(git rev-parse HEAD) $(BUILD_ARGS) .

sbom: $(VENV)/.tools $(VENV)/.installed ## what the lock holds, as CycloneDX: dist/mimic.cdx.json
	mkdir -p dist
	PYTHONWARNINGS=ignore $(VENV)/tools/bin/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible -o dist/mimic.cdx.json

SCAN_SERVICE ?= pypi
scan: $(VENV)/.tools ## known vulnerabilities of the locked packages, and with SCAN_IMAGE=... of an image (needs trivy)
	@if [ -n "$(SCAN_IMAGE)" ] && ! command -v trivy >/dev/null; then \
		echo "SCAN_IMAGE needs trivy (https://trivy.dev), and there is none."; exit 1; fi
	$(VENV)/tools/bin/pip-audit --strict --requirement requirements.lock --require-hashes --disable-pip --progress-spinner off \
		--vulnerability-service $(SCAN_SERVICE) || { echo "Nothing is known, or something was found (see above)." \
		"Needed is the way to the advisories: pypi.org/pypi/NAME/VERSION/json, which not every index has, or" \
		"with SCAN_SERVICE=osv api.osv.dev."; exit 1; }
	@if [ -n "$(SCAN_IMAGE)" ]; then \
		trivy image --exit-code 1 --ignore-unfixed --severity HIGH,CRITICAL "$(SCAN_IMAGE)"; fi

clean: ## what the targets above have made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find service operator tests bench observability reference -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.python:
	@test -n "$(PYTHON)" || { echo "Mimic needs Python 3.11 or newer, and none was found; PYTHON=/path/to/python names one."; exit 1; }
	@$(PYTHON) -c '' 2>/dev/null || { echo "This Python cannot be run: $(PYTHON). PYTHON=/path/to/python names another."; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Mimic needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version)."; exit 1; }
	@echo "First run: making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV) || { echo "No venv could be made. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@touch $@

# What pip fetches is shown as it comes; what is there already is not.
TERSE = | { grep --line-buffered -v -e '^Requirement already' -e '^Ignoring' -e '^  Using cached' -e '^ *━' || true; }

# An existing environment takes a changed lock the same way as a new one.
$(VENV)/.installed: requirements.lock pyproject.toml $(VENV)/.python
	@echo "Installing what Mimic needs (once, or when requirements.lock has changed) ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements.lock $(TERSE)
	@$(BIN)/python -m pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.installed-dev: requirements-dev.lock $(VENV)/.installed
	@echo "Installing what tests and checks need ..."
	@$(BIN)/python -m pip install --disable-pip-version-check --require-hashes -r requirements-dev.lock $(TERSE)
	@touch $@

$(VENV)/.tools: $(VENV)/.python
	@$(BIN)/python -m venv $(VENV)/tools
	@$(VENV)/tools/bin/python -m pip install --disable-pip-version-check --quiet cyclonedx-bom==$(CYCLONEDX_VERSION) pip-audit==$(PIP_AUDIT_VERSION)
	@touch $@

$(VENV)/.uv: $(VENV)/.python
	@$(BIN)/python -m venv $(VENV)/uv
	@$(VENV)/uv/bin/python -m pip install --disable-pip-version-check --quiet uv==$(UV_VERSION)
	@touch $@
