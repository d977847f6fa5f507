# Needs python3 (3.11 or newer), make and a network or package cache for pip. Everything is
# installed into .venv; each stamp file says what is installed, so a second call starts at once.

PYTHON ?= python3
BIN := .venv/bin
ARGS ?=

.PHONY: train test test-cuda check format bench bench-peers bench-readme clean

train: .venv/core.stamp
	$(BIN)/fastnn train $(ARGS)

test: .venv/dev.stamp
	$(BIN)/python -m pytest $(ARGS)

# The same with CuPy, NVIDIA's compiler and cuBLAS (over 1 GB), for which no GPU is needed.
test-cuda: .venv/dev.stamp
	$(BIN)/python -m pip install --quiet --editable ".[cuda13]" nvidia-cuda-cccl nvidia-cuda-crt
	$(BIN)/python -m pytest $(ARGS)

check: .venv/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: .venv/dev.stamp
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Kernels, steps and epochs, then throughput beside the peers that are installed. Everything that
# it finds lies in benchmarks/out/ afterwards.
OUT := benchmarks/out
bench: .venv/dev.stamp
	mkdir -p $(OUT)
	$(BIN)/python -m pytest benchmarks --benchmark-only --benchmark-columns=median,iqr,rounds \
		--benchmark-json=$(OUT)/pytest-benchmark.json
	$(BIN)/fastnn bench --rounds 5 --memory --save $(OUT)/throughput.json --plot $(OUT)/throughput.png \
		--plot $(OUT)/throughput.svg $(ARGS) > $(OUT)/throughput.txt; \
		code=$$?; cat $(OUT)/throughput.txt; exit $$code

# What fastnn is measured against; none of it is needed for anything else. Where there is no GPU,
# PEERS="torch --index-url https://download.pytorch.org/whl/cpu" avoids gigabytes.
PEERS ?= torch jax scikit-learn
bench-peers: .venv/dev.stamp
	$(BIN)/python -m pip install --quiet $(PEERS)

# README's figures, in about half an hour; FASTNN_DATA names the folder of the real data.
RESULTS := benchmarks/results
bench-readme: .venv/dev.stamp
	$(BIN)/fastnn bench --memory --save $(RESULTS)/throughput.json
	$(BIN)/fastnn bench --network 20-32-2 --batch-sizes 32 --save $(RESULTS)/tiny.json
	$(BIN)/python -m benchmarks.prediction --save
	$(BIN)/python -m benchmarks.threads --save
	$(BIN)/python -m benchmarks.startup --save
	$(BIN)/python -m scripts.time_to_accuracy --device cpu --peers all --save $(RESULTS)/time_to_accuracy.json
	$(BIN)/python -m scripts.fill_readme

clean:
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache \
		.hypothesis .benchmarks benchmarks/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/core.stamp: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# Dependency groups need pip 25.1, which the upgrade above provides.
.venv/dev.stamp: .venv/core.stamp
	$(BIN)/python -m pip install --quiet --group dev
	touch $@
