# make demo    the whole way on pictures it makes itself; no data, no download of models
# make test    all tests that need nothing but this folder
# make test-torch   the tests of what needs torch, in an environment of their own (5.5 GB)
# make test-ray   the tests of what needs Ray, in an environment of their own (1 GB)
# make check   lint, types, import contracts
# make bench   the measurements of docs/performance.md; needs photographs
# make stress  the hard tests at full size; docs/reliability.md has their figures
# Each makes .venv if it is missing and installs what it needs.

PYTHON ?= python3
BIN := .venv/bin
AT_ONCE ?= 2 # tests that run side by side
DATA := $(or $(KESHIKARAN_TEST_DATA),../shared/data)

.PHONY: demo test test-torch test-ray realdata check wheel bench stress clean

demo: .venv/installed-train
	$(BIN)/keshikaran demo

test: .venv/installed-dev
	$(BIN)/pytest -q -n $(AT_ONCE)

test-torch: .venvs/torch/installed
	.venvs/torch/bin/pytest -q -m torch tests/test_torch_zoo.py tests/test_torch_finetune.py

test-ray: .venvs/ray/installed
	.venvs/ray/bin/pytest -q -m ray tests/test_ray.py tests/test_ray_shards.py

realdata: .venv/installed-dev
	KESHIKARAN_TEST_DATA=$(DATA) $(BIN)/pytest -q -m realdata

check: .venv/installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# The wheel, installed into an empty environment, runs the demo from another folder.
wheel: .venv/installed-dev
	PATH="$(CURDIR)/$(BIN):$$PATH" sh tools/check_wheel.sh

bench: .venv/installed-dev
	$(BIN)/python benchmarks/run_all.py --data $(DATA)

stress: .venv/installed-dev
	$(BIN)/python -m stress

clean:
	rm -rf .venv .venvs dist keshikaran-demo

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/installed-train: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	touch $@

.venv/installed-dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.venvs/torch/installed: pyproject.toml constraints.txt
	test -x .venvs/torch/bin/python || $(PYTHON) -m venv .venvs/torch
	.venvs/torch/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[torch,onnxruntime]' hypothesis pytest pytest-timeout
	touch $@

.venvs/ray/installed: pyproject.toml constraints.txt
	test -x .venvs/ray/bin/python || $(PYTHON) -m venv .venvs/ray
	.venvs/ray/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray,onnxruntime]' grpcio hypothesis pytest pytest-timeout
	touch $@
