# Two commands do everything, set-up included: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup demo test test-slow test-all lint clean

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/hurricane run --device 'onnxruntime:cpu?threads=1' --max-latency 100us --time-limit 3m --out runs/demo
	@echo "Report: runs/demo/report.html"

test: setup lint
	$(BIN)/pytest

test-slow: setup
	$(BIN)/pytest -m slow

test-all: setup lint
	$(BIN)/pytest -m ''

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv runs build dist
