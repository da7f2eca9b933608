# Verbs; what they do stands in pyproject.toml, tools/ and tests/.
# In an environment with:  pip install -e ".[check]"

PYTHON ?= python

.PHONY: help build test check format lint types layers test-c test-helium symbols test-arm test-arm-short \
    test-arm-tflite test-firmware instructions firmware-sizes parity drawn support bench peers fuzz golden wheels clean

help:            ## this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed 's/:.*##/	/'

build:           ## the extension, beside its source
	$(PYTHON) setup.py -q build_ext --inplace

test:            ## the Python suite
	$(PYTHON) -m pytest -n auto --dist worksteal

check: format lint types layers test-c symbols test  ## the gate: all that must hold before a change lands

format:          ## fails where a file is not formatted
	ruff format --check .
	clang-format --dry-run -Werror edgelstm/_door.[ch] src_c/*.[ch] tests/c/*.[ch] tests/firmware/*.[ch] tools/*.c tools/*.cpp

lint:
	ruff check .

types:
	mypy

layers:          ## who may use whom
	$(PYTHON) tools/check_layers.py

test-c:          ## the C tests, under sanitizers and optimised
	$(PYTHON) tools/test_c.py
	$(PYTHON) tools/test_c.py --rows

test-helium:     ## the kernel set for Cortex-M55 on an emulated one
	$(PYTHON) tools/test_helium.py

symbols:         ## no heap, no libc, no globals
	$(PYTHON) tools/check_symbols.py

test-arm:        ## the C tests and Python's tests of the core on emulated ARM and RISC-V CPUs
	$(PYTHON) tools/test_arm.py
	$(PYTHON) tools/test_arm_python.py

test-arm-short:  ## less of it
	$(PYTHON) tools/test_arm.py --short
	$(PYTHON) tools/test_arm_python.py --short

test-arm-tflite: ## TFLite's own runtimes on emulated ARM beside tfl8, every byte
	$(PYTHON) tools/test_arm_tflite.py

test-firmware:   ## what export-c writes: compiled alone, looked into, run on emulated boards
	$(PYTHON) tools/test_firmware.py --all --page

instructions:    ## how many a step takes, on emulated CPUs, against the committed table
	$(PYTHON) tools/count_instructions.py

firmware-sizes:  ## instructions, flash, RAM and stack on microcontrollers, against the committed table
	$(PYTHON) tools/measure_firmware.py

parity:          ## against live Keras, PyTorch, ONNX Runtime, TFLite and Chromium: pip install -e ".[parity]"
	$(PYTHON) -m pytest tests/parity -n auto --dist worksteal

parity-full:     ## the same and what takes long
	EDGELSTM_FULL=1 $(PYTHON) -m pytest tests/parity -n auto --dist worksteal

drawn:           ## 3000 models drawn at random beside their frameworks; writes docs/parity.md
	$(PYTHON) tools/draw_parity.py --count 3000

support:         ## docs/support.md, by asking the importers
	$(PYTHON) tools/make_support.py

bench:           ## what the committed figures rest on
	$(PYTHON) tools/bench_call.py
	$(PYTHON) tools/bench_step.py
	$(PYTHON) tools/bench_import.py
	$(PYTHON) tools/bench_tfl8.py
	$(PYTHON) tools/test_c.py --bench

peers:           ## beside other runtimes, about a quarter of an hour: pip install ".[peers]"
	$(PYTHON) tools/compare_peers.py

fuzz:            ## three minutes, importers beside the image: pip install -e ".[fuzz]", and clang
	$(PYTHON) tools/test_c.py --cc clang --fuzz 180 & image=$$!; \
	    $(PYTHON) tools/fuzz_importers.py --seconds 180; importers=$$?; \
	    wait $$image && exit $$importers

golden:          ## adds golden images; never changes those that are there
	$(PYTHON) tools/make_golden.py

wheels:          ## those of x86-64 and ARM, and the source, each tried; into dist/: pip install ".[wheels]"
	$(PYTHON) tools/build_wheels.py
	$(PYTHON) tools/try_wheels.py

clean:
	rm -rf build dist *.egg-info edgelstm/_core.c edgelstm/*.so
