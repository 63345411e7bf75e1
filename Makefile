# `make help` lists the targets. Requires Python 3.13 and make; everything else is set up under .venvs/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.13
VENVS := .venvs
WORKERS := $(patsubst workers/%/Dockerfile,%,$(wildcard workers/*/Dockerfile))
UV := $(VENVS)/uv/bin/uv
DEV := $(VENVS)/dev/bin
STYLE := $(VENVS)/style/bin
SAM := $(VENVS)/sam/bin/sam
# For modules that import the packages of functions and workers.
PACKAGES := PYTHONPATH=client:layers/switchyard:layers/embedding:workers/library
LOCAL := $(DEV)/python -m local
SWITCHYARD := PYTHONPATH=client $(DEV)/python -m switchyard_client
export SAM_CLI_TELEMETRY := 0
export __SAM_CLI_APP_DIR := $(CURDIR)/$(VENVS)/cache/sam
# Always write bytecode: thousands of processes import the same modules.
unexport PYTHONDONTWRITEBYTECODE
# No target sees the user's AWS configuration, except `make aws-prepare`, and with STACK=… redrive, smoke and aws-check,
# as the only goal. A STACK from the environment doesn't count, so that nobody works on AWS by accident.
STACK_ON_AWS := $(if $(filter command,$(origin STACK)),$(STACK))
AWS_OPTIONS = $(if $(STACK_ON_AWS),--stack "$(STACK_ON_AWS)") $(if $(PROFILE),--profile "$(PROFILE)")
ifeq ($(filter aws-prepare aws-prepare+aws aws-check+aws redrive+aws smoke+aws,$(MAKECMDGOALS)$(if $(STACK_ON_AWS),+aws)),)
unexport $(filter AWS_%,$(.VARIABLES))
export AWS_DEFAULT_REGION := us-east-1
endif
# .venvs/uv has the python3.13 with pip that builds the layer. Paths that make reads are relative, because the path of
# this folder may contain spaces.
SAM_PATH := $(CURDIR)/$(VENVS)/uv/bin:$(PATH)
# Caches stay in the user's home, where projects share them, unless it isn't writable.
HOMELESS := $(shell cache="$${XDG_CACHE_HOME:-$$HOME/.cache}"; test -e "$$cache" || cache="$$HOME"; test -w "$$cache" || echo yes)
ifneq ($(HOMELESS),)
export XDG_CACHE_HOME := $(CURDIR)/$(VENVS)/cache
endif

# A target names the environments that it uses. Only those are set up for it.
ready = $(1:%=$(VENVS)/%/.ready)
SYSTEM := $(call ready,dev sam emulator runtime $(WORKERS))

.PHONY: help
help: ## List these targets
	@awk -F ':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' Makefile

##@ Start here
.PHONY: demo demo-api demo-torrent demo-import demo-search
demo: $(SYSTEM) ## Real videos through the whole system (ARGS=--keep: don't end it)
	@$(LOCAL) demo $(ARGS)

demo-api: $(SYSTEM) ## Photographs and a live stream, over the HTTP API
	@$(LOCAL) demo-api $(ARGS)

demo-torrent: $(SYSTEM) ## A recorded stream as a torrent, downloaded by two clients
	@$(LOCAL) demo-torrent $(ARGS)

demo-import: $(SYSTEM) ## A player's Steam library, twice, private and throttled
	@$(LOCAL) demo-import $(ARGS)

demo-search: $(SYSTEM) models ## Who says what in a video, and questions that find the second
	@$(LOCAL) demo-search $(ARGS)

##@ Operate the local system
.PHONY: up send status env logs down redrive smoke drill aws-prepare aws-check
up: $(SYSTEM) ## Start the system; again: deploy changes (WORKER=my_worker.py)
	@$(LOCAL) up $(if $(WORKER),--worker "$(WORKER)") $(ARGS)

# What `switchyard` calls it: a URL is recorded, a picture looked at, anything else uploaded.
ROAD = $(or $(if $(filter http://% https://%,$(FILE)),record),$(if $(filter %.jpg %.jpeg %.png %.webp,$(FILE)),look),upload)
send: $(call ready,dev) ## Send work and follow its job: make send FILE=clip.mp4 (or a URL)
	@$(SWITCHYARD) --local $(ROAD) "$(FILE)" --results .local/results $(ARGS)

status: $(call ready,dev) ## Addresses, jobs, slots and queues
	@$(LOCAL) status

env: ## Point your shell at the local system: eval "$(make env)"
	@[ -x $(DEV)/python ] || { echo "nothing is set up here yet: make up" >&2; exit 1; }
	@$(LOCAL) env

logs: $(call ready,dev) ## Functions' logs (ARGS: "-f", "compute", "emulator", "job ID")
	@$(LOCAL) logs $(ARGS)

down: $(call ready,dev) ## End the system
	@$(LOCAL) down

redrive: $(call ready,dev) ## Move dead letters back: QUEUE=video [APPLY=1] [STACK=NAME]
	@$(SWITCHYARD) $(if $(STACK_ON_AWS),$(AWS_OPTIONS),--local) redrive "$(QUEUE)" \
	    $(if $(filter 1 yes true,$(APPLY)),--apply) $(ARGS)

smoke: $(call ready,dev) ## Try a real job, then erase it: FILE=clip.mp4 [STACK=NAME]
	@set -o pipefail; export PYTHONPATH=client; run="$(DEV)/python -m switchyard_client $(if $(STACK_ON_AWS),$(AWS_OPTIONS),--local)"; \
	    $$run --json upload "$(FILE)" --follow $(ARGS) | tee /dev/stderr | $$run cancel --erase --erase-upload --yes -

drill: $(SYSTEM) ## Rehearse failures (DRILL=NAME: that one; ARGS=--list)
	@$(DEV)/python -m pytest -q -s "tests/integration/drills.py$(if $(DRILL),::test_a_drill[$(DRILL)])" $(ARGS)

aws-prepare: $(call ready,dev) ## Make an AWS account ready [STACK=NAME] [ARGS=--dry-run]
	@$(DEV)/python -m tools.prepare $(AWS_OPTIONS) $(ARGS)

aws-check: $(call ready,dev) ## Check a stack, collect evidence [STACK=NAME] [ARGS=--left]
	@$(PACKAGES) $(DEV)/python -m tools.check $(if $(STACK_ON_AWS),$(AWS_OPTIONS)) $(ARGS)

##@ Develop
.PHONY: check test format
check: check-types check-style check-templates check-imports ## Lint, format, types, templates, pins, functions' imports

test: $(SYSTEM) $(call ready,audit checkov) ## Run the tests (ALL=1 for the slow ones; ARGS: pytest)
	@$(DEV)/python -m tests $(if $(ALL),--all) $(ARGS)

format: $(call ready,style) ## Format the code and fix what ruff can fix
	$(STYLE)/ruff check --fix
	$(STYLE)/ruff format

# The parts of check and audit, so that CI can run two at a time (-j 2).
.PHONY: check-types check-style check-templates check-imports audit audit-secrets audit-rules audit-advisories
check-types: $(call ready,dev)
	$(DEV)/mypy

check-style: $(call ready,style)
	$(STYLE)/ruff check
	$(STYLE)/ruff format --check
	$(STYLE)/python tools/checks/hygiene.py

# `sam validate` lints template.yaml with its own cfn-lint; tests/template lints all three with ours.
check-templates: $(call ready,dev sam)
	$(DEV)/cfn-lint stacks/compute.yaml stacks/watch.yaml
	$(SAM) validate --lint --template template.yaml

check-imports: $(call ready,dev)
	$(DEV)/python tools/checks/imports.py

# Not part of check, because it takes longer than all of check.
audit: audit-secrets audit-rules audit-advisories ## Secrets, rules on templates and images, known vulnerabilities

audit-secrets: $(call ready,audit)
	$(VENVS)/audit/bin/python tools/checks/leaks.py

audit-rules: $(call ready,checkov)
	LOG_LEVEL=ERROR $(VENVS)/checkov/bin/checkov --skip-download --quiet --compact --framework cloudformation dockerfile \
	    --file template.yaml stacks/compute.yaml stacks/watch.yaml $(WORKERS:%=workers/%/Dockerfile)

audit-advisories: $(call ready,audit)
	$(VENVS)/audit/bin/python tools/checks/advisories.py $(ARGS)

.PHONY: build invoke start-api
build: $(call ready,sam) ## sam build
	PATH="$(SAM_PATH)" $(SAM) build --cached --parallel

FUNCTION ?= SqsToBatchFunction
EVENT ?= $(firstword $(wildcard events/sqs_to_batch/*.json))
invoke: $(SYSTEM) ## Run one function in Docker: FUNCTION=GetJobFunction EVENT=FILE
	@$(LOCAL) invoke "$(FUNCTION)" "$(EVENT)" $(ARGS)

start-api: $(SYSTEM) ## Serve the HTTP API in Docker (ARGS="--port 3000")
	@$(LOCAL) start-api $(ARGS)

.PHONY: console-shots
console-shots: $(SYSTEM) ## Pictures of the console for the docs (needs make models)
	@$(PACKAGES) $(DEV)/python -m tests.shots

.PHONY: test-api test-interleavings test-model test-chaos soak fuzz check-iam bench check-bench
test-api: $(SYSTEM) ## Thousands of requests made from the OpenAPI document (4 minutes)
	$(DEV)/python -m pytest tests/integration/test_api_contract.py --hypothesis-profile=thorough $(ARGS)

test-interleavings: $(call ready,dev) ## Every way that two invocations can meet, with faults
	@$(PACKAGES) nice $(DEV)/python -m tests.interleavings $(ARGS)

test-model: $(call ready,dev) ## 100,000 steps of the protocol, with faults (ARGS="--seed 7")
	@$(PACKAGES) nice $(DEV)/python -m tests.model $(ARGS)

test-chaos: $(SYSTEM) $(call ready,chaos) ## 2,000 jobs, faults on every AWS call (ARGS="--jobs 50")
	@$(PACKAGES) $(DEV)/python -m tests.chaos storm $(ARGS)

MINUTES ?= 60
soak: $(SYSTEM) ## An hour of steady work: no drift, no leaks (MINUTES=5)
	@$(PACKAGES) $(DEV)/python -m tests.chaos soak --minutes $(MINUTES) $(ARGS)

SECONDS ?= 60
fuzz: $(call ready,dev fuzz) ## Hostile input for every parser [TARGET=bencode] [SECONDS=60]
	@$(VENVS)/fuzz/bin/python -m tests.fuzz $(TARGET) --seconds $(SECONDS) $(ARGS)

check-iam: $(SYSTEM) ## Check that functions need all their permissions (an hour)
	@$(PACKAGES) $(DEV)/python -m tests.iam $(ARGS)

bench: $(SYSTEM) ## Measure against a floor and the usual way (ARGS="cpu size")
	@$(PACKAGES) $(DEV)/python -m bench $(ARGS)

check-bench: $(SYSTEM) ## Each bench once, small, plus the memory and bench tests
	$(DEV)/python -m pytest -q -n auto -m heavy tests/unit
	@$(PACKAGES) $(DEV)/python -m bench --smoke

# ---- environments: one per requirements file, so that no tool's pins or imports affect another's ---------------------
.PHONY: setup chromium models lock clean
setup: $(SYSTEM) $(call ready,style audit checkov) chromium ## Set up all environments at once, to work offline later

# A browser for the console's tests, where root can install Debian's. Elsewhere they are skipped, so nothing fails here.
chromium:
	@command -v chromium >/dev/null || [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null || { \
	    echo "installing Chromium"; \
	    export DEBIAN_FRONTEND=noninteractive; \
	    timeout 600 sh -c "apt-get -qq update && apt-get -qq install --no-install-recommends chromium" \
	        >/dev/null 2>&1 || echo "Chromium can't be installed: the tests that need it are skipped"; }

# $(call install,NAME,COMMAND): run an installer with its output in a log. If it fails, say why in plain words.
define install
@echo "setting up $(VENVS)/$(1)"
@{ $(2); } >$(VENVS)/$(1).log 2>&1 && rm $(VENVS)/$(1).log || { \
    why=$$(tail -n 1 $(VENVS)/$(1).log); \
    if grep -qiE "connect|name resolution|timed out|unreachable" $(VENVS)/$(1).log; then \
        why="no package index answers. Check the network, and the index that pip is configured for"; fi; \
    echo "Can't set up $(VENVS)/$(1): $$why (details: $(VENVS)/$(1).log)" >&2; exit 1; }
endef

$(UV): requirements/uv.txt
	@found=$$("$(PYTHON)" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null); [ "$$found" = 3.13 ] || { \
	    echo "Python 3.13 is needed, but $(PYTHON) is $${found:-missing}. Name one: make PYTHON=/path/to/python3.13" >&2; exit 1; }
	@"$(PYTHON)" -c "import ensurepip, venv" 2>/dev/null || { \
	    echo "$(PYTHON) lacks venv or ensurepip; on Debian and Ubuntu they are in the package python3.13-venv" >&2; exit 1; }
	@mkdir -p $(VENVS)
	$(call install,uv,"$(PYTHON)" -m venv --clear $(VENVS)/uv && \
	    $(VENVS)/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<)
	@touch $@

# Uses the interpreter of .venvs/uv, so that PYTHON is needed only once. The pins are whole, but for what FOR_DOWNLOADS leaves out.
$(VENVS)/%/.ready: requirements/%.txt $(UV)
	$(call install,$*,$(UV) venv --quiet --clear --python $(VENVS)/uv/bin/python $(VENVS)/$* && \
	    $(UV) pip install --quiet --require-hashes --no-deps --python $(VENVS)/$*/bin/python -r $<)
	@touch $@

# The Lambda runtime's own packages, which functions may import in addition to their layer (see local/emulator.py).
$(VENVS)/runtime/.ready: requirements/runtime.txt $(UV)
	$(call install,runtime,rm -rf $(VENVS)/runtime && $(UV) pip install --quiet --require-hashes \
	    --python $(VENVS)/uv/bin/python --python-version 3.13 --target $(VENVS)/runtime -r $<)
	@touch $@

.PRECIOUS: $(VENVS)/%/.ready

# Not part of setup: nothing but the stages of analyze_video that use them needs them, and they skip without.
models: $(UV) ## Fetch the models that understand speech [MODELS="NAME ..."]
	@$(VENVS)/uv/bin/python workers/analyze_video/fetch_models.py --into $(VENVS)/models $(MODELS)

# Dependencies of the layer's packages that the Lambda runtime provides.
IN_RUNTIME := $(addprefix --no-emit-package ,botocore jmespath python-dateutil six urllib3)
# What tokenizers needs only to download, which nothing here does.
FOR_DOWNLOADS := $(addprefix --no-emit-package ,huggingface-hub filelock fsspec hf-xet httpcore2 httpx2 httpx2-jsfetch tqdm truststore)
lock: $(UV) ## Pin the packages of requirements/*.in again
	@for each in requirements/*.in; do \
	    pins="$${each%.in}.txt"; options=; \
	    case "$$each" in \
	        */layer.in) pins=layers/switchyard/requirements.txt; options="$(IN_RUNTIME)" ;; \
	        */dev.in) options="$(FOR_DOWNLOADS)" ;; \
	        */embedding.in) pins=layers/embedding/requirements.txt; options=--no-deps ;; \
	        */media.in) options=--no-deps ;; \
	    esac; \
	    $(UV) pip compile --quiet --universal --python-version 3.13 --generate-hashes --no-header $$options \
	        "$$each" -o "$$pins" || exit; \
	done

clean: ## Remove builds and the local system's state, not .venvs
	@if [ -e .local/state.json ]; then echo "the local system runs: make down" >&2; exit 1; fi
	rm -rf .aws-sam .local .pytest_cache .mypy_cache .ruff_cache .hypothesis
