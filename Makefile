# make demo      create .venv, install, run the carry probe on the shipped 262-parameter adder
# make test      install what is missing, then everything that CI checks
# make check     the same checks without installing
# make test-tl4  the tests of the wrapper and of the carry probe with TransformerLens 4
# make slow      the tests that take long, which `make test` leaves out
# make matrix    the tests that compute, for PyTorch's sets of instructions and 1 and 2 threads (slow)
# make docs      build the API reference from the docstrings, into site/
# make explorer-bundle  bundle the page of analyses.explorer again; needs node and npm
# make notebook  run notebooks/tour.ipynb from nothing and store it with its outputs

VENV ?= .venv
TORCH ?= torch==2.13.0
VENV_TL4 ?= $(VENV)-tl4
# The first Python that really starts and is new enough (a version manager's shim may do neither).
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
  $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

BIN := $(VENV)/bin
PACKAGES := $(VENV)/.installed
DEV_PACKAGES := $(VENV)/.installed-dev
TL4_PACKAGES := $(VENV_TL4)/.installed
# Of the thousands of modules that come along, Python compiles those that are imported, as they are.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile

.PHONY: demo test test-tl4 check lint types unit slow matrix docs reference notebook clean

demo: $(PACKAGES)
	OMP_NUM_THREADS=1 $(BIN)/python -m interp.carry_probe 262p

test: $(DEV_PACKAGES)
	$(MAKE) check

# Types and reference need one core each, the tests two: side by side none waits.
check: lint
	$(MAKE) -j 3 types reference unit

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/pyright --pythonpath $(BIN)/python

# make slow      the tests that take long, which `make test` leaves out
SLOW := $(addprefix tests/,test_twice.py train/sweep/test_dask.py train/blocks train/plain \
  interp/rank_ablation/test_any_network.py interp/anatomy/test_any_network.py \
  interp/carry_probe/test_any_adder.py interp/certify_any/test_certificate.py interp/test_bridge.py \
  analyses/explorer analyses/training_tables analyses/gallery analyses/repair analyses/dynamics \
  analyses/figures test_notebook.py)

unit:
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(addprefix --ignore=,$(SLOW))

slow:
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal $(SLOW)

# An environment of its own, which sees the packages of the other one behind TransformerLens 4.
test-tl4: $(TL4_PACKAGES)
	OMP_NUM_THREADS=1 $(VENV_TL4)/bin/python -m pytest -n 2 --dist worksteal \
	  tests/interp/test_bridge.py tests/interp/anatomy/test_hook_trace.py \
	  tests/interp/anatomy/test_column_trace.py \
	  tests/interp/carry_probe/test_instrument.py -k "not instrument or handbuilt_adder_is"

# Files, hostile or our own, and command lines are the same everywhere.
NO_NUMBERS := $(addprefix --ignore=tests/,model/shell model/test_hostile_files.py \
  interp/check_certificate/test_altered_files.py interp/check_certificate/test_hostile_files.py \
  train/sweep/test_dask.py)
CELLS := $(foreach set,default avx2 avx512,$(foreach threads,1 2,matrix-$(set)-$(threads)))

.PHONY: $(CELLS)
matrix: $(CELLS)

$(CELLS): matrix-%:
	ATEN_CPU_CAPABILITY=$(firstword $(subst -, ,$*)) OMP_NUM_THREADS=$(lastword $(subst -, ,$*)) \
	  $(BIN)/python -m pytest -n 1 $(NO_NUMBERS) tests/model tests/train tests/interp

docs: $(DEV_PACKAGES)
	$(MAKE) reference

reference:
	rm -rf site
	OMP_NUM_THREADS=1 $(BIN)/python docs/build.py

notebook: $(DEV_PACKAGES)
	OMP_NUM_THREADS=1 $(BIN)/python notebooks/execute.py

.PHONY: explorer-bundle
explorer-bundle:
	cd analyses/explorer/page && npm ci --no-audit --no-fund && npm run --silent build

$(BIN)/python:
	@test -n "$(PYTHON)" || \
	  { echo "no Python 3.11 or newer found: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv $(VENV)

# torch goes first, so that its version is settled before the packages that build on it.
$(PACKAGES): pyproject.toml | $(BIN)/python
	$(INSTALL) "$(TORCH)"
	$(INSTALL) -e . "transformer-lens<4"
	touch $@

$(DEV_PACKAGES): pyproject.toml | $(BIN)/python
	$(INSTALL) "$(TORCH)"
	$(INSTALL) -e ".[dev]" "transformer-lens<4"
	touch $(PACKAGES) $@

$(TL4_PACKAGES): $(DEV_PACKAGES)
	$(BIN)/python -m venv $(VENV_TL4)
	$(BIN)/python -c "import site, sysconfig; from pathlib import Path; \
	  line = f'import site; site.addsitedir({sysconfig.get_path(\"purelib\")!r})'; \
	  (next(Path('$(VENV_TL4)').glob('lib/python3*/site-packages')) / 'zz_base.pth').write_text(line)"
	$(VENV_TL4)/bin/python -m pip install --quiet --no-compile "transformer-lens>=4,<5"
	touch $@

clean:
	rm -rf $(VENV) $(VENV_TL4) build dist site
