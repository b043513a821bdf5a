# The README's two commands, from nothing but Python 3.11+ and pip.
#   make run    make .venv, install, run the default study, say where the report is
#               (STUDY=laptop another one, SIZE=quick a smaller size of it, OVERRIDES="problems=4" with Hydra overrides)
#   make test   likewise, run the tests
PYTHON ?= python3
STUDY ?= quickstart
CORES ?= all
BIN := .venv/bin
# On few cores fewer, larger jobs are quicker: the seeds of a task and pool share a process and its batches.
SHARE ?= $(shell test "$$(nproc 2>/dev/null || echo 8)" -le 4 && echo task,pool || echo task,pool,seed)

.PHONY: run test clean

run: .venv/installed
	$(BIN)/snakemake --cores $(CORES) --config study=$(STUDY) share=$(SHARE) $(if $(SIZE),size=$(SIZE)) $(if $(OVERRIDES),"overrides=$(OVERRIDES)")
	@echo "report: outputs/$(STUDY)/report.html"

test: .venv/installed-dev
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

.venv/installed-dev: .venv/installed
	$(BIN)/python -m pip install --quiet -e ".[dev]"
	@touch $@

clean:
	rm -rf outputs/[!R]* .snakemake
