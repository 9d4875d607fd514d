# The only commands of this project. `make demo` and `make test` set up everything they need.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --no-compile -c constraints.txt
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal
RUN := runs/demo

ifndef PPGEN_DATA
ifneq ($(wildcard ../shared/data/.),)
export PPGEN_DATA := $(abspath ../shared/data)
endif
endif

# Bytecode is kept, whatever the shell says, for what is imported: without it a process takes twice as long to start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo test lint types rounding docs site picture packaging bench thorough fuzz mutants proof kills suite ci

setup: $(VENV)/.installed

# Torch comes first and by its pinned version alone, so that pip has nothing to weigh when it meets the rest.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "expected Python 3.11 or newer, got " + sys.version.split()[0] + ": run make with PYTHON=python3.11 (or newer).")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(shell grep '^torch==' constraints.txt)
	$(PIP) setuptools wheel
	$(PIP) --no-build-isolation -e '.[dev]'
	touch $@

demo: setup
	rm -rf $(RUN)
	$(BIN)/ppgen train vae --data digits --objective iwelbo -O num_particles=5 --out $(RUN)
	$(BIN)/ppgen evaluate $(RUN)
	$(BIN)/ppgen report $(RUN)
	@echo 'The run is in $(RUN); its page is $(abspath $(RUN))/report.html'

test: setup
	$(PYTEST) -m 'not slow'

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# Once more what the checks say, with products and sums a unit in the last place off and without vector instructions: a
# verdict that changes hung on this processor. Left out: a compiled step, which takes half a minute to compile under the
# mode, and two checks whose tolerances are standard errors of many draws in float64.
NOT_ROUNDED := check_compiled_step or check_unbiased_gradient or check_reparameterization

rounding: setup
	ATEN_CPU_CAPABILITY=default $(PYTEST) --rounding -m 'not slow' -k 'not ($(NOT_ROUNDED))' \
		tests/test_rounding.py tests/testing/test_testing.py tests/test_conformance.py

docs: setup
	$(BIN)/python -m ppgen.tables --check
	$(BIN)/python benchmarks/page.py --check
	$(PYTEST) tests/test_docs.py tests/test_site.py tests/test_gallery.py

$(VENV)/.site: $(VENV)/.installed
	$(PIP) --no-build-isolation -e '.[site]'
	touch $@

# The documentation as pages, build/site/index.html. Its notebooks are run in full, again whenever they or the code change.
GALLERY := $(patsubst docs/%.ipynb,build/%.ipynb,$(wildcard docs/gallery/*.ipynb))

site: $(VENV)/.site $(GALLERY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

build/gallery/%.ipynb: docs/gallery/%.ipynb $(shell git ls-files 'ppgen/*.py' 'models/*.py' 'inference/*.py') | $(VENV)/.site
	rm -rf build/gallery/$*
	mkdir -p build/gallery/$*
	cp $< build/gallery/$*
	MATPLOTLIBRC=$(abspath docs/site) $(BIN)/python -m nbconvert --to notebook --execute \
		--output ../$*.ipynb build/gallery/$*/$*.ipynb

# The picture of a page in README.md, taken of the demo's by Chromium.
picture: demo
	$(BIN)/python docs/site/picture.py $(RUN)/report.html docs/report.png

packaging: setup
	$(PYTEST) tests/test_packaging.py

$(VENV)/.bench: $(VENV)/.installed
	$(PIP) --no-build-isolation -e '.[bench]'
	touch $@

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/bench.py
	$(BIN)/python benchmarks/topics.py
	$(BIN)/python benchmarks/page.py

# What is too long for every change: laws by long draws, further cases of what is compiled, idioms of public code under
# every law.
thorough: setup
	$(PYTEST) -m thorough

# More than 10,000 generated inputs, drawn by SEED, in half an hour on two cores: the tests of them with MORE times
# as many. It says how many each test tried; an input that broke something is printed, and the same SEED finds it again.
SEED := 0
MORE := 4

fuzz: setup
	PPGEN_EXAMPLES=$(MORE) $(PYTEST) -p tests.generated -m hypothesis --hypothesis-seed=$(SEED) --timeout=0 \
		--show-capture=no tests

# Mistakes put into the formulas one at a time, each to be noticed by a test; one core, about an hour.
mutants: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.mutation

# What lights are worth: 200 faults of known size and as many sound pairs, diagnosed; about an hour of one core. The
# tables of docs/diagnostics.md are made of what it keeps.
proof: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.proof
	$(BIN)/python -m ppgen.tables

# Processes killed with -9, five hundred of them over all families and the commands that write, and then the steps
# compiled: what is left is whole, and what goes on from it ends as one that was not killed.
kills: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.kills --kills 20
	OMP_NUM_THREADS=1 TORCHINDUCTOR_COMPILE_THREADS=1 $(BIN)/python -m tests.kills --kills 5 --compiled

suite: setup
	$(PYTEST) -m 'not thorough'

# Types take one core half a minute, beside the tests.
ci: lint
	$(MAKE) --jobs 2 types suite
	$(MAKE) rounding
