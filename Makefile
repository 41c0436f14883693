# Every target stands alone: each sets up what it needs in .venv and then does its work.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: setup demo test test-slow lint kernels validate-physics bench torture fuzz load clean

setup: $(VENV)/.installed

# torch first and pinned: where a CPU build of this version is at hand, a range would pass it over.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("columnist needs Python 3.11 or newer, this is " + sys.version.split()[0]) if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[agent,files,sim,models,dev]'
	touch $@

demo: setup
	$(BIN)/columnist demo --out out/demo

# What only computes, or waits for minutes, runs side by side; what else talks over sockets has deadlines, and
# the machine to itself.
PATIENT := tests/system/test_bad_input.py tests/models tests/sim_microscope tests/agent/commands/test_analyse.py \
	tests/agent/commands/test_export.py tests/agent/results tests/agent/test_decide_properties.py \
	tests/drivers/test_files.py

test: setup lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses 3 --dist worksteal $(PATIENT)
	$(BIN)/python -m pytest $(PATIENT:%=--ignore=%)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test-slow: setup
	$(BIN)/python -m pytest -m slow

kernels: setup
	$(BIN)/columnist kernels build

validate-physics: setup
	$(BIN)/columnist validate physics --out out/validate-physics --json

bench: setup
	$(BIN)/columnist bench fields --json

# Kills and faults, a quarter of an hour; then, each by itself, what comes from outside, and too much of everything.
torture: setup
	$(BIN)/columnist bench faults --json

fuzz: setup
	$(BIN)/columnist bench fuzz --json

load: setup
	$(BIN)/columnist bench load --json

# Recorded sessions (out/sessions) stay.
clean:
	rm -rf $(VENV) out/demo out/validate-physics
