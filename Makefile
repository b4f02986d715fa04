PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEVICE ?= cpu

.PHONY: demo test lint benchmark frontier speed certify fuzz mutations toy dist clean

$(READY): setup.cfg pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test,lint,benchmarks]"
	touch $@

demo: $(READY)
	$(BIN)/python examples/demo.py

test: $(READY)
	$(BIN)/python -m pytest -q -n 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

benchmark: $(READY)
	for protocol in odds-contaminated mnist-one-class mnist-seeds one-class ablation ablation-mnist; do \
		$(BIN)/benchopt run benchmarks --no-plot --config benchmarks/configs/$$protocol.yml || exit 1; \
	done
	$(BIN)/python benchmarks/report.py

frontier: $(READY)
	$(BIN)/python benchmarks/frontier.py

speed: $(READY)
	$(BIN)/python benchmarks/speed/run.py

certify: $(READY)
	$(BIN)/python benchmarks/certify.py

fuzz: $(READY)
	$(BIN)/python tests/persistence/fuzz.py

mutations: $(READY)
	$(BIN)/python tests/mutations/run.py

toy: $(READY)
	$(BIN)/python examples/toy_experiment.py --device $(DEVICE)

# Files of an earlier build would get into this one.
dist: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	rm -rf dist pyod_lipocc.egg-info
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python .github/check_dist.py dist

clean:
	rm -rf $(VENV)
