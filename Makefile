# duoview's tasks. Everything happens in .venv; `make install test` works on a fresh clone.
#
#   make install      .venv with the wheel of this checkout and what its tests need
#   make test         wheel, pytest and mypy (tests too) against the installed wheel from outside the checkout, ruff
#   make lint         ruff, mypy, and whether the wheel holds the CUDA kernels (it does where nvcc is)
#   make demo         encodes a bundled clip, decodes both views, writes out/demo
#   make sanitize     the kernels' tests under the address and undefined-behaviour sanitizers (g++ 12 or newer)
#   make fuzz         every fuzz target for SECONDS=60, two at a time (clang); docs/testing.md
#   make bench        the measurements behind the README's numbers, written to bench/results; give
#                     KODAK=folder (the 24 pictures, lossless) for the still-picture curves
#   make bench-kernels  the kernels beside constriction, compressai, torchac and diffusers, to bench/results/kernels.json
#   make gpu-backlog  what waits for a machine with a GPU
#   make gpu-carry    what has to be brought to one that has no network, in loads, to build/carry; give
#                     PYTHON312=interpreter and DATA="photographs=FOLDER clips=FOLDER weights=FOLDER"
#   make develop      editable install: Python files are used in place, `make develop` again after a change of C++
#   make clean        removes what was built

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := install
.DELETE_ON_ERROR:
.PHONY: install wheel test test-run test-train typecheck ruff lint cuda-check sanitize fuzz demo bench bench-kernels gpu-backlog gpu-carry develop clean

ROOT := $(CURDIR)
VENV ?= $(ROOT)/.venv
KODAK ?=
PYTHON ?= python3
PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check
WHEELS := $(ROOT)/build/wheels
BUILD_REQUIRES := "setuptools>=77" wheel "cmake>=3.25" ninja "nanobind>=2.4"
# Only what is exported and trained with needs torch; the tests of those packages are a stage of their own.
TORCH_REQUIRES := torch==2.13.0 onnx onnxscript diffusers transformers

# Tests see the installed wheel and nothing else: not the checkout, not the current folder.
PYTEST := cd "$$(mktemp -d)" && PYTHONSAFEPATH=1 ORT_DISABLE_TELEMETRY=1 $(PY) -m pytest \
	--import-mode=importlib -c $(ROOT)/pyproject.toml --rootdir=$(ROOT) -o cache_dir=$(ROOT)/build/pytest -q

MYPY := PYTHONSAFEPATH=1 $(PY) -m mypy --config-file $(ROOT)/pyproject.toml --cache-dir $(ROOT)/build/mypy

install: wheel

$(VENV)/.tools: pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PIP) install -q $(BUILD_REQUIRES)
	touch $@

# build/lib is removed first: setuptools would put modules that no longer exist into the wheel.
wheel: $(VENV)/.tools
	rm -rf build/lib* build/bdist* $(WHEELS)
	PATH="$(VENV)/bin:$$PATH" $(PIP) wheel -q --no-build-isolation --no-deps -w $(WHEELS) $(ROOT)
	test -e $(VENV)/.requires -a ! pyproject.toml -nt $(VENV)/.requires \
	  || $(PIP) install -q "$$(echo $(WHEELS)/duoview-*.whl)[test]"
	$(PIP) install -q --force-reinstall --no-deps $(WHEELS)/duoview-*.whl
	touch $(VENV)/.requires
	@echo "installed $$(basename $(WHEELS)/duoview-*.whl) in $(VENV)"

test: install
	$(MAKE) --no-print-directory test-run
	$(MAKE) --no-print-directory test-train
	$(MAKE) --no-print-directory typecheck
	$(MAKE) --no-print-directory ruff

test-run:
	$(PYTEST) $(ROOT)/tests --ignore=$(ROOT)/tests/train

test-train:
	$(PIP) install -q $(TORCH_REQUIRES)
	$(PYTEST) $(ROOT)/tests/train

# The tests name types of bench/, which is no part of the wheel: it is found through MYPYPATH.
typecheck:
	$(PIP) install -q $(TORCH_REQUIRES)
	cd "$$(mktemp -d)" && $(MYPY) -p duoview && MYPYPATH=$(ROOT) $(MYPY) $(ROOT)/tests

ruff:
	$(PY) -m ruff check --cache-dir build/ruff $(ROOT)

lint: install ruff typecheck cuda-check

cuda-check: wheel
	@if $(PY) -m zipfile -l $(WHEELS)/duoview-*.whl | grep -q duoview.fatbin; then echo "the wheel holds the CUDA kernels"; \
	else echo "no nvcc: the wheel holds no CUDA kernels"; fi

# The sanitized module stands in a package of its own, beside links to the Python files: nothing installed is touched, and
# PYTHONPATH puts it before what is. The tests are those that need nothing but duoview.kernels (test_cuda_loader is about the
# wheel's fatbin, which is not built here); they run with the sanitizers' libraries loaded first. tests/sanitized.py comes
# first and proves that all this is so.
SANITIZED := $(ROOT)/build/sanitize
KERNEL_TESTS = $(shell grep -lE '^(from|import) duoview\.kernels' $(ROOT)/tests/test_*.py \
	| xargs grep -LE '^(from|import) (duoview($$| |\.[^k])|torch|onnx|av|bench)' | grep -v /test_cuda_loader)

sanitize: $(VENV)/.tools
	$(PY) -c "import hypothesis, numpy, pytest" 2> /dev/null || $(MAKE) --no-print-directory install
	mkdir -p $(SANITIZED)/site/duoview/kernels
	PATH="$(VENV)/bin:$$PATH" cmake -S $(ROOT) -B $(SANITIZED) -G Ninja -DCMAKE_CXX_COMPILER=g++ \
	  -DCMAKE_BUILD_TYPE=Release -DDUOVIEW_SANITIZE=ON -DPython_EXECUTABLE=$(PY) \
	  -DDUOVIEW_MODULE_DIR=$(SANITIZED)/site/duoview/kernels > $(SANITIZED)/configure.log || { cat $(SANITIZED)/configure.log; exit 1; }
	PATH="$(VENV)/bin:$$PATH" cmake --build $(SANITIZED) --target _native --parallel 2
	echo '"""The kernels alone, sanitized."""' > $(SANITIZED)/site/duoview/__init__.py
	find $(SANITIZED)/site/duoview/kernels -type l -delete
	for file in $(ROOT)/kernels/*; do \
	  case $$file in *.so) ;; *) ln -s $$file $(SANITIZED)/site/duoview/kernels/ ;; esac; done
	DUOVIEW_SANITIZED=$(SANITIZED)/site PYTHONPATH=$(SANITIZED)/site \
	LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:abort_on_error=1 \
	UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1 PYTHONMALLOC=malloc \
	bash -c 'cd "$$(mktemp -d)" && $(PY) -m pytest -q --capture=sys --import-mode=importlib -c $(ROOT)/pyproject.toml \
	  --rootdir=$(ROOT) -p no:cacheprovider $(ROOT)/tests/sanitized.py $(KERNEL_TESTS)'

SECONDS ?= 60
FUZZ := $(ROOT)/build/fuzz

fuzz: $(VENV)/.tools
	command -v clang++ > /dev/null || { echo "make fuzz needs clang++ with libFuzzer (Debian: apt-get install clang)"; exit 1; }
	mkdir -p $(FUZZ)
	PATH="$(VENV)/bin:$$PATH" cmake -S $(ROOT) -B $(FUZZ) -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCMAKE_BUILD_TYPE=Release \
	  -DDUOVIEW_FUZZ=ON -DPython_EXECUTABLE=$(PY) > $(FUZZ)/configure.log || { cat $(FUZZ)/configure.log; exit 1; }
	PATH="$(VENV)/bin:$$PATH" cmake --build $(FUZZ) --target fuzzers --parallel 2
	$(PY) tests/fuzz/run.py $(FUZZ) --seconds $(SECONDS)

demo: install
	$(PY) examples/demo.py --output out/demo

bench: install
	$(PIP) install -q "$$(echo $(WHEELS)/duoview-*.whl)[bench]"
	$(PY) -m bench.report $(if $(KODAK),--kodak "$(KODAK)")

# compressai asks for other versions of numpy and torch than we have; its coder needs neither.
bench-kernels: install
	$(PIP) install -q "$$(echo $(WHEELS)/duoview-*.whl)[bench-kernels]"
	$(PIP) install -q --no-deps compressai==1.2.8
	PATH="$(VENV)/bin:$$PATH" $(PY) -m bench.kernels --json bench/results/kernels.json

gpu-backlog:
	@if compgen -G "bench/gpu/[!_]*.py" > /dev/null; then \
	  echo "to be run on a machine with a GPU (python <file>; the first calls the others, the second is for before):"; \
	  for file in bench/gpu/everything.py bench/gpu/carry.py \
	    $$(ls bench/gpu/[!_]*.py | grep -vE '/(everything|carry)\.py$$'); do echo "  $$file: $$(sed -n '1s/^"""//;1s/"""$$//;1p' $$file)"; done; \
	else echo "gpu-backlog: nothing waits for a GPU (there is no script in bench/gpu)"; fi

PYTHON312 ?= python3.12
DATA ?=

gpu-carry: $(VENV)/.tools
	$(PY) bench/gpu/carry.py --out build/carry --python "$(PYTHON312)" $(foreach one,$(DATA),--data "$(one)")

develop: $(VENV)/.tools
	PATH="$(VENV)/bin:$$PATH" $(PIP) install -q --no-build-isolation -e "$(ROOT)[test]"

clean:
	rm -rf build out .venv *.egg-info kernels/_native.*.so
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +
