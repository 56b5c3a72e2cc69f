# Everything happens in an environment of this checkout's own (.venv); nothing else on the machine changes.

PYTHON ?= python3
VENV ?= .venv
# What the tests compare numbers with. Another version: make clean test TORCH=torch==2.6.0
TORCH ?= torch==2.13.0

bin := $(VENV)/bin
install := $(bin)/python -m pip install --quiet --disable-pip-version-check

# What repaired models must load in besides the newest: the oldest, the last that dies of a graph that it cannot
# load, the last without batches in its blobs.
OTHER_NCNN ?= 1.0.20240102 1.0.20250916 1.0.20260526

# ncnn and torch on tiny models: a thread more costs time.
export OMP_NUM_THREADS ?= 1

.PHONY: help demo test bench bench-verify docs coverage models fixtures operators layers schemas index fuzz clean

help: ## list these targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile

demo: $(VENV)/.installed ## repair a copy of a real conversion and run the result in ncnn
	@$(bin)/python scripts/demo.py

test: export PNNXFIX_NCNN_RELEASES ?= $(abspath $(VENV))/ncnn
test: $(VENV)/.installed-dev $(VENV)/.installed-ncnn ## linter, type checker, tests
	$(bin)/ruff check .
	$(bin)/mypy
	$(bin)/python -m pytest -n 2

bench: $(VENV)/.installed-dev ## print time and memory, each beside its floor
	$(bin)/python benchmarks/run.py

bench-verify: $(VENV)/.installed-dev ## time and memory of verify beside running the models by hand
	$(bin)/python benchmarks/run_verify.py

docs: $(VENV)/.installed-dev ## write the tables and outputs in the documentation anew
	$(bin)/python scripts/make_docs.py

coverage: $(VENV)/.installed-dev ## convert and repair PyTorch's operators one by one, write docs/coverage.md
	$(install) --editable '.[convert]' '$(TORCH)'
	$(bin)/python -m scripts.coverage

fixtures: $(VENV)/.installed-dev ## convert the test networks anew, with each pnnx release
	$(bin)/python fixtures/build.py
	$(bin)/python fixtures/build_console.py

operators: $(VENV)/.installed-dev ## convert the networks of operators without a rule anew
	$(bin)/python fixtures/build_operators.py

layers: $(VENV)/.installed-dev ## write the table of ncnn's layer types anew, from its releases
	$(bin)/python scripts/make_layers.py

schemas: $(VENV)/.installed-dev ## write the table of PyTorch's operators anew
	$(bin)/python scripts/make_schemas.py

index: $(VENV)/.installed-dev ## write the table that says which module holds which operator's rule
	$(bin)/python scripts/make_index.py

models: $(VENV)/.installed-dev ## convert and repair real architectures, write docs/models.md
	$(install) --editable '.[models]' '$(TORCH)'
	$(bin)/python -m scripts.models

fuzz: $(VENV)/.installed-dev ## feed mutated real files to check and fix
	$(bin)/python tests/fuzz.py

clean: ## remove the environment and what was built
	rm -rf $(VENV) build dist

# The demo needs no torch, and the larger environment grows out of the smaller one.
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(install) --editable '.[onnx]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(install) --editable '.[dev]' '$(TORCH)'
	@touch $@

# Not every release has a wheel for every Python; the tests of one that has none are left out, and this says so.
$(VENV)/.installed-ncnn: $(VENV)/.installed-dev
	@mkdir -p $(VENV)/ncnn
	@for release in $(OTHER_NCNN); do \
	    $(install) --no-deps --only-binary :all: --upgrade --target $(VENV)/ncnn/$$release ncnn==$$release \
	    || echo "ncnn $$release has no wheel for this Python: not tested"; done
	@touch $@
