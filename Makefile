# make sweep   set everything up, execute the demo grid on this machine, print its results
# make test    set everything up, run the test suite
# make check   the linters, and the tests that start no process: a minute, nothing is built
# make format  format the sources
# make test-all     also the tests in a browser, on a real Slurm (root, Debian), and those that take minutes each
# make test-slurm   the tests on a real Slurm, which they start on this machine
# make test-long    those that take minutes each, most of them on a real Slurm
# make lint    the linters alone
# make storm   300 runs on a real Slurm while faults strike every few seconds (SEED=1; a quarter of an hour)
# make sanitize  the operators' tests under AddressSanitizer and UndefinedBehaviorSanitizer
# Options: PRUNE_CUDA=1 (build for CUDA with any torch)   PYTHON=python3.12   TORCH_INDEX=<package index with another build of torch>   VENV=<directory>

VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet install -c constraints.txt
# the first that runs and is of a version that the project takes
PYTHON ?= $(shell for p in python3 python3.11 python3.12; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null && { echo $$p; break; }; done)
SOURCES := $(shell find csrc -type f)

# on more than four workers, the tests that have to share one take longest
WORKERS := -n logical --maxprocesses 4 --dist loadgroup

.PHONY: sweep test check lint-sources test-quick format test-all test-long test-slurm storm sanitize lint clean tools
.DEFAULT_GOAL := sweep

sweep: $(VENV)/.built
	@$(BIN)/python -m sweep.launch --grid demo --local

test: $(VENV)/.dev
	@$(BIN)/python -m pytest $(WORKERS) -m "not long"

check:
	@test -e $(VENV)/.dev || { echo "error: nothing is installed yet: make test" >&2; exit 2; }
	@$(MAKE) --no-print-directory --jobs 2 --output-sync lint-sources test-quick

test-quick:
	@$(BIN)/python -m pytest -q $(WORKERS) -m "not (process or slow or browser or slurm or long)"

format: $(VENV)/.dev
	@$(BIN)/ruff check --quiet --fix . ; $(BIN)/ruff format .
	@$(BIN)/clang-format -i $(SOURCES)

test-all: $(VENV)/.dev
	@SWEEP_TEST_SLURM=1 SWEEP_TEST_BROWSER=1 $(BIN)/python -m pytest $(WORKERS)

test-long: $(VENV)/.dev
	@SWEEP_TEST_SLURM=1 $(BIN)/python -m pytest -m long

test-slurm: $(VENV)/.dev
	@SWEEP_TEST_SLURM=1 $(BIN)/python -m pytest -m "slurm and not long"

SEED ?= 1
storm: $(VENV)/.dev
	@PYTHONPATH=.:tests $(BIN)/python tests/end_to_end/slurm/storm.py --seed $(SEED)

lint: $(VENV)/.dev
	@$(MAKE) --no-print-directory lint-sources

lint-sources:
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy && $(BIN)/mypy --config-file tests/mypy.ini tests
	@$(BIN)/clang-format --dry-run -Werror $(SOURCES)

# The operators' tests with the extension built under AddressSanitizer and UndefinedBehaviorSanitizer.
SANITIZED := build/sanitize
RUNTIMES := $(foreach l,libasan.so libubsan.so libstdc++.so,$(shell $${CXX:-g++} -print-file-name=$(l)))
sanitize: $(VENV)/.dev
	@CFLAGS="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -g1" \
		LDFLAGS="-fsanitize=address,undefined" \
		$(BIN)/python setup.py -q build --build-base $(SANITIZED) --build-lib $(SANITIZED)/lib
	@cd $(SANITIZED)/lib && LD_PRELOAD="$(RUNTIMES)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 \
		$(abspath $(BIN))/python -m pytest -p no:cacheprovider -k "not compile and not worker_processes and not pool_keeps" \
		--rootdir=$(CURDIR) -c $(CURDIR)/pyproject.toml $(CURDIR)/tests/prune/test_masked_linear.py \
		$(CURDIR)/tests/prune/test_masked_linear_kernels.py $(CURDIR)/tests/prune/test_global_mask.py

clean:
	rm -rf $(VENV) build prunesweep.egg-info prune/_C*.so

# Each step leaves a mark, so that a second call installs nothing.
$(VENV)/.torch: constraints.txt | tools
	@$(PYTHON) -m venv $(VENV)
	@echo "installing torch"
	@# from another index torch alone: what it depends on comes from the usual one in the next step
	@$(PIP) $(if $(TORCH_INDEX),--no-deps --index-url $(TORCH_INDEX)) torch
	@touch $@

# Another PRUNE_CUDA is another build.
$(VENV)/.cuda-$(PRUNE_CUDA): | $(VENV)/.torch
	@rm -f $(VENV)/.cuda-*
	@touch $@

$(VENV)/.built: $(VENV)/.torch $(VENV)/.cuda-$(PRUNE_CUDA) pyproject.toml setup.py $(SOURCES)
	@echo "installing the other dependencies"
	@$(PIP) setuptools wheel ninja pybind11
	@echo "building the extension against the installed torch (a minute or two)"
	@$(PIP) --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.built
	@echo "installing the test tools"
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["dev"], sep="\n")' \
		> $(VENV)/dev-requirements.txt
	@$(PIP) --requirement $(VENV)/dev-requirements.txt
	@touch $@

# What pip cannot install. Names the missing thing and the Debian package that has it.
tools:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or 3.12 found: apt install python3, or give PYTHON=/path/to/python" >&2; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: $(PYTHON) has no venv module: apt install python3-venv" >&2; exit 2; }
	@$(PYTHON) -c 'import sys, sysconfig, os; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
		|| { echo "error: $(PYTHON) has no headers (Python.h): apt install python3-dev" >&2; exit 2; }
	@command -v $${CXX:-g++} >/dev/null || { echo "error: no C++ compiler ($${CXX:-g++}): apt install g++" >&2; exit 2; }
