# Switchyard. `make help` lists what there is. Needs Python 3.13, make and git; all else is set up under .venvs/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3.13
VENVS := .venvs
UV := $(VENVS)/uv/bin/uv
DEV := $(VENVS)/dev/bin
export SAM_CLI_TELEMETRY := 0

.PHONY: help setup
help: ## What can be made
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  \033[1m%-14s\033[0m %s\n", $$1, $$2}'

# ---- environments: one a requirements file, so that no tool's pins or imports leak into another's -------------------
$(UV): requirements/uv.txt
	$(PYTHON) -m venv $(VENVS)/uv
	$(VENVS)/uv/bin/python -m pip install --quiet --require-hashes -r $<
	@touch $@

$(VENVS)/%/.ready: requirements/%.txt $(UV)
	$(UV) venv --quiet --clear --python $(PYTHON) $(VENVS)/$*
	$(UV) pip install --quiet --require-hashes --python $(VENVS)/$*/bin/python -r $<
	@touch $@

# What a function may import besides its layer: the Lambda runtime's own packages (local/emulator.py says how it is used).
$(VENVS)/runtime/.ready: requirements/runtime.txt $(UV)
	$(UV) pip install --quiet --require-hashes --python-version 3.13 --target $(VENVS)/runtime -r $<
	@touch $@

.PRECIOUS: $(VENVS)/%/.ready
setup: $(VENVS)/dev/.ready $(VENVS)/sam/.ready $(VENVS)/emulator/.ready $(VENVS)/runtime/.ready $(VENVS)/analyze_video/.ready ## Set up every environment
