PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEVICE ?= cpu

.PHONY: demo test lint docs benchmark frontier speed certify toy paper under-attack signed-distance \
	fuzz mutations recipes dist clean

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

# Without network; `make docs TAGS="-t online"` links to the pages of other projects.
docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/python -m sphinx --fresh-env --write-all --fail-on-warning --keep-going $(TAGS) \
		docs docs/_build/html
	$(BIN)/python docs/check_links.py docs/_build/html
	$(BIN)/python -m pytest -q docs

benchmark: $(READY)
	for protocol in odds-contaminated mnist-one-class mnist-seeds mnist-contaminated one-class ablation ablation-mnist; do \
		$(BIN)/benchopt run benchmarks --no-plot --config benchmarks/configs/$$protocol.yml || exit 1; \
	done
	$(BIN)/python -m benchmarks.report

frontier: $(READY)
	$(BIN)/python -m benchmarks.studies.frontier

speed: $(READY)
	$(BIN)/python -m benchmarks.studies.speed

certify: $(READY)
	$(BIN)/python -m benchmarks.studies.certify

toy: $(READY)
	$(BIN)/python -m benchmarks.studies.toy --device $(DEVICE)

paper: $(READY)
	$(BIN)/python -m benchmarks.studies.paper --jobs 2 --device $(DEVICE)

under-attack: $(READY)
	$(BIN)/python -m benchmarks.studies.under_attack

signed-distance: $(READY)
	$(BIN)/python -m benchmarks.studies.signed_distance

fuzz: $(READY)
	$(BIN)/python tests/persistence/fuzz.py

mutations: $(READY)
	$(BIN)/python tests/mutations/run.py

# Half a gigabyte of engines; that of Spark needs Java.
recipes: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[recipes]"
	$(BIN)/python -m pytest -q tests/recipes

# Files of an earlier build would get into this one.
dist: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	rm -rf dist pyod_lipocc.egg-info
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(BIN)/python .github/check_dist.py dist

clean:
	rm -rf $(VENV)
