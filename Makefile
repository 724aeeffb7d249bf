# The two commands of README, and the parts they are made of. Everything is installed into .venv, nothing elsewhere.
PYTHON ?= python3
VENV ?= .venv
OUT ?= out/llama-3.2-1b
BIN := $(VENV)/bin
# pinned for development: the package itself accepts torch >= 2.11 and the triton that belongs to it
TORCH := torch==2.13.0 triton==3.7.1
# torchvision cannot load its operators beside a torch without CUDA, and where it is found transformers fails with it:
# what timm needs stands apart, for the one test that looks there
VISION := timm==1.0.31 torchvision==0.28.0 pillow==13.0.0
MODES := prefill decode_1 decode_16 train
PROBLEMS := $(MODES:%=$(OUT)/%.jsonl)

.PHONY: tune test setup setup-test wheel lint test-cpp test-python clean

## From a model to tuning records: capture Llama-3.2-1B's GEMMs, tune them for this machine's GPU or an RTX 3060.
tune: setup $(PROBLEMS)
	cat $(PROBLEMS) > $(OUT)/problems.jsonl
	$(BIN)/gemm-tuner tune $(OUT)/problems.jsonl -o $(OUT)/records.jsonl --device $${DEVICE:-$$($(BIN)/python -c \
	  "from gemm_tuner.driver import device_count; print('current' if device_count() else 'rtx-3060')")}

$(OUT)/train.jsonl: CAPTURE_FLAGS := --backward
$(PROBLEMS): $(OUT)/%.jsonl: examples/llama.py | setup
	mkdir -p $(OUT)
	HF_HUB_OFFLINE=1 $(BIN)/gemm-tuner capture -o $@ $(CAPTURE_FLAGS) --model examples/llama.py:$*

## Every test: style, types, the C++ core with and without nvcc, the wheel, the Python package.
test: setup-test lint test-cpp test-python

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

setup: $(BIN)/python
	$(BIN)/python -m pip install --quiet $(TORCH) transformers
	$(BIN)/python -m pip install --quiet .

setup-test: wheel
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --force-reinstall --no-deps build/wheel/*.whl
	$(BIN)/python -m pip install --quiet "gemm_tuner[dev]" --find-links build/wheel
	$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(VENV)/vision $(VISION)

## What is tested is what ships: the wheel, built with warnings as errors.
wheel: $(BIN)/python
	rm -rf build/wheel
	$(BIN)/python -m pip wheel --quiet --no-deps -w build/wheel -C cmake.define.GEMM_TUNER_WERROR=ON .

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run -Werror $$(git ls-files 'csrc/*.[ch]pp' 'csrc/*.cu' 'tests/*.[ch]pp')
	$(BIN)/mypy

test-cpp:
	for preset in test no-cuda; do \
	  PATH="$(abspath $(BIN)):$$PATH" cmake --preset $$preset && \
	  PATH="$(abspath $(BIN)):$$PATH" cmake --build --preset $$preset && \
	  PATH="$(abspath $(BIN)):$$PATH" ctest --preset $$preset || exit 1; \
	done

test-python:
	$(BIN)/python -m pytest -n auto --durations 15

clean:
	rm -rf build dist out $(VENV)
