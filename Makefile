# Switchyard. `make help` lists what there is. Needs Python 3.13, make and git; all else is set up under .venvs/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.13
VENVS := .venvs
WORKERS := $(patsubst workers/%/Dockerfile,%,$(wildcard workers/*/Dockerfile))
UV := $(VENVS)/uv/bin/uv
DEV := $(VENVS)/dev/bin
SAM := $(VENVS)/sam/bin/sam
LOCAL := $(DEV)/python -m local
export SAM_CLI_TELEMETRY := 0
# Whatever the user's environment says of it: what thousands of processes import is compiled once.
unexport PYTHONDONTWRITEBYTECODE
# Nothing here talks to AWS, so nothing here gets to know the user's account. But `make redrive STACK=…`, alone, does: a
# STACK of the environment is none, since it takes a decision to work on AWS.
STACK_ON_AWS := $(if $(filter command,$(origin STACK)),$(STACK))
ifneq ($(MAKECMDGOALS)$(if $(STACK_ON_AWS),+aws),redrive+aws)
unexport $(filter AWS_%,$(.VARIABLES))
export AWS_DEFAULT_REGION := us-east-1
endif
# The layer is built by a python3.13 that has pip, whatever the machine's own one is.
SAM_PATH := $(CURDIR)/$(VENVS)/uv/bin:$(PATH)

.PHONY: help
help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-10s %s\n", $$1, $$2}'

# ---- the local system ------------------------------------------------------------------------------------------------
.PHONY: demo demo-api demo-torrent up down status logs send
demo: setup ## Send real videos through the whole system on this machine (ARGS=--keep leaves it running)
	@$(LOCAL) demo $(ARGS)

demo-api: setup ## Have photographs looked at and a live stream recorded over the HTTP API (ARGS=--keep likewise)
	@$(LOCAL) demo-api $(ARGS)

demo-torrent: setup ## Have a stream recorded, made a torrent of, and downloaded by aria2 and libtorrent (ARGS=--keep likewise)
	@$(LOCAL) demo-torrent $(ARGS)

up: setup ## Start the system and leave it running; again: deploy what has changed (WORKER=my_worker.py does the videos' jobs)
	@$(LOCAL) up $(if $(WORKER),--worker "$(WORKER)") $(ARGS)

status: setup ## What runs where, jobs, slots and queues
	@$(LOCAL) status

send: setup ## Send a video or a picture, or a URL to record, and follow its job: make send FILE=clip.mp4
	@$(LOCAL) send "$(FILE)" $(ARGS)

logs: setup ## The functions' logs; ARGS="-f", "compute", "emulator", "job ID"
	@$(LOCAL) logs $(ARGS)

down: setup ## End it all
	@$(LOCAL) down

# ---- operation -------------------------------------------------------------------------------------------------------
.PHONY: redrive
redrive: setup ## Move dead letters back to their queue: make redrive QUEUE=video [APPLY=1] [STACK=switchyard-dev PROFILE=me]
	@PYTHONPATH=layers/switchyard:workers/library $(DEV)/python -m tools.redrive "$(QUEUE)" $(if $(filter 1 yes true,$(APPLY)),--apply) \
	    $(if $(STACK_ON_AWS),--stack "$(STACK_ON_AWS)" $(if $(PROFILE),--profile "$(PROFILE)")) $(ARGS)

# ---- quality ---------------------------------------------------------------------------------------------------------
.PHONY: test test-api test-model check audit check-iam drill format
test: setup ## Every tier of the tests: fast ones, beside them those on deployed local systems and in Docker
	@$(DEV)/python -m tests $(ARGS)

test-api: setup ## Thousands of requests to the deployed API, made from its own document: 4 minutes
	$(DEV)/pytest tests/integration/test_api_contract.py --hypothesis-profile=thorough $(ARGS)

test-model: setup ## The dispatch protocol as a state machine: 100,000 steps of it, faults at every call (ARGS="--seed 7")
	@PYTHONPATH=layers/switchyard:workers/library nice $(DEV)/python -m tests.model $(ARGS)

# In parts, so that CI can do two of them at a time (-j 2).
.PHONY: check-types check-style check-templates check-imports audit-secrets audit-rules audit-advisories
check: check-types check-style check-templates check-imports ## Lint, format, types, templates, pins, what functions import, and nothing of this machine committed

check-types: setup
	$(DEV)/mypy

check-style: setup
	$(DEV)/ruff check
	$(DEV)/ruff format --check
	$(DEV)/python tools/checks/hygiene.py

# `sam validate` lints template.yaml with its own cfn-lint; tests/template runs ours over all three.
check-templates: setup
	$(DEV)/cfn-lint stacks/compute.yaml stacks/watch.yaml
	$(SAM) validate --lint --template template.yaml

check-imports: setup
	$(DEV)/python tools/checks/imports.py

# Not part of check, since it takes longer than all of that.
audit: audit-secrets audit-rules audit-advisories ## Security: rules on templates and images, secrets in what is committed, advisories on what is pinned

audit-secrets: setup
	$(VENVS)/audit/bin/python tools/checks/leaks.py

audit-rules: setup
	LOG_LEVEL=ERROR $(VENVS)/checkov/bin/checkov --skip-download --quiet --compact --framework cloudformation dockerfile \
	    --file template.yaml stacks/compute.yaml stacks/watch.yaml $(WORKERS:%=workers/%/Dockerfile)

audit-advisories: setup
	$(VENVS)/audit/bin/python tools/checks/advisories.py $(ARGS)

check-iam: setup ## Show that functions need every permission they have: an hour (ARGS=--list, "--only sqs_to_batch")
	@PYTHONPATH=layers/switchyard:workers/library $(DEV)/python -m tests.iam $(ARGS)

drill: setup ## Rehearse what the runbook says for bad days: make drill DRILL=lost-events; without, all of them
	@$(DEV)/pytest -q -s "tests/integration/drills.py$(if $(DRILL),::test_a_drill[$(DRILL)])" $(ARGS)

.PHONY: test-chaos soak
test-chaos: setup $(VENVS)/chaos/.ready ## Faults on every AWS call, processes killed, 2,000 jobs (ARGS="--videos 50 --jobs 50 --seed 1")
	@PYTHONPATH=layers/switchyard:workers/library $(DEV)/python -m tests.chaos storm $(ARGS)

MINUTES ?= 60
soak: setup ## Steady work for an hour: nothing may drift, leak or be left behind (MINUTES=5, ARGS="--rate 60")
	@PYTHONPATH=layers/switchyard:workers/library $(DEV)/python -m tests.chaos soak --minutes $(MINUTES) $(ARGS)

SECONDS ?= 60
.PHONY: fuzz
fuzz: setup $(VENVS)/fuzz/.ready ## Give every parser hostile input, guided by coverage: make fuzz [TARGET=bencode] [SECONDS=60]
	@$(VENVS)/fuzz/bin/python -m tests.fuzz $(TARGET) --seconds $(SECONDS) $(ARGS)

.PHONY: bench
bench: setup ## What it costs, beside the floor and the usual way: make bench ARGS="cpu --rounds 9"
	@PYTHONPATH=layers/switchyard:workers/library $(DEV)/python -m bench $(ARGS)

format: setup ## Put the code into the project's format, and fix what ruff can fix
	$(DEV)/ruff check --fix
	$(DEV)/ruff format

# ---- functions -------------------------------------------------------------------------------------------------------
.PHONY: build invoke start-api
build: setup ## sam build
	PATH="$(SAM_PATH)" $(SAM) build --cached --parallel

FUNCTION ?= SqsToBatchFunction
EVENT ?= $(firstword $(wildcard events/sqs_to_batch/*.json))
invoke: setup ## Run one function in Docker: make invoke FUNCTION=SqsToBatchFunction EVENT=events/x.json
	@$(LOCAL) invoke "$(FUNCTION)" "$(EVENT)" $(ARGS)

start-api: setup ## Serve the HTTP API in Docker: make start-api ARGS="--port 3000"
	@$(LOCAL) start-api $(ARGS)

# ---- environments: one a requirements file, so that no tool's pins or imports leak into another's -------------------
.PHONY: setup lock clean
setup: $(VENVS)/dev/.ready $(VENVS)/sam/.ready $(VENVS)/emulator/.ready $(VENVS)/runtime/.ready $(VENVS)/checkov/.ready $(VENVS)/audit/.ready $(foreach worker,$(WORKERS),$(VENVS)/$(worker)/.ready) ## Set up every environment (all targets do)

$(UV): requirements/uv.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.13 is needed, and there is no $(PYTHON); name it: make PYTHON=/path/to/python3.13" >&2; exit 1; }
	@echo "setting up $(VENVS)/uv"
	@$(PYTHON) -m venv --clear $(VENVS)/uv
	@$(VENVS)/uv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@

$(VENVS)/%/.ready: requirements/%.txt $(UV)
	@echo "setting up $(VENVS)/$*"
	@$(UV) venv --quiet --clear --python $(PYTHON) $(VENVS)/$*
	@$(UV) pip install --quiet --require-hashes --python $(VENVS)/$*/bin/python -r $<
	@touch $@

# What a function may import besides its layer: the Lambda runtime's own packages (local/emulator.py says how it is used).
$(VENVS)/runtime/.ready: requirements/runtime.txt $(UV)
	@echo "setting up $(VENVS)/runtime"
	@rm -rf $(VENVS)/runtime
	@$(UV) pip install --quiet --require-hashes --python $(PYTHON) --python-version 3.13 --target $(VENVS)/runtime -r $<
	@touch $@

.PRECIOUS: $(VENVS)/%/.ready

# What the layer's packages ask for and the Lambda runtime brings.
IN_RUNTIME := $(addprefix --no-emit-package ,botocore jmespath python-dateutil six urllib3)
lock: $(UV) ## Pin what requirements/*.in ask for, anew
	@for each in requirements/*.in; do \
	    pins="$${each%.in}.txt"; options=; \
	    case "$$each" in \
	        */layer.in) pins=layers/switchyard/requirements.txt; options="$(IN_RUNTIME)" ;; \
	        */media.in) options=--no-deps ;; \
	    esac; \
	    $(UV) pip compile --quiet --universal --python-version 3.13 --generate-hashes --no-header $$options \
	        "$$each" -o "$$pins" || exit; \
	done

clean: ## Remove what was built, and the local system's state (`make down` first); environments stay
	@if [ -e .local/state.json ]; then echo "the local system runs: make down" >&2; exit 1; fi
	rm -rf .aws-sam .local .pytest_cache .mypy_cache .ruff_cache .hypothesis
