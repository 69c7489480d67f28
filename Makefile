# One verb for each thing that people do; `make` alone lists them. Each sets up what it needs, and only once.

PYTHON ?= python3
WORKERS ?= 2
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help setup build check test lab demo bench lint format lock clean distclean

# what would send Python, pip, or Jupyter to another place than .venv
unexport PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE PYTHONWARNINGS PYTHONSAFEPATH PYTHONOPTIMIZE
unexport PIP_REQUIRE_VIRTUALENV PIP_TARGET PIP_PREFIX PIP_USER CONDA_PREFIX CONDA_DEFAULT_ENV PYTEST_ADDOPTS

# setup: a PYTHON given on make's command line decides what .venv is made of; otherwise a .venv that works stays
EXACT := $(if $(filter command,$(firstword $(origin PYTHON))),--exact)
define SETUP
	@command -v "$(PYTHON)" >/dev/null 2>&1 || \
	{ echo "$(PYTHON) is not here: install Python 3.11 or newer, or name it: make $@ PYTHON=/path/to/python." >&2; exit 1; }
	@"$(PYTHON)" autograder/bootstrap.py $@ $(EXACT)
endef

# a program of .venv, whatever the user's PATH: nbgrader, too, starts programs by name
RUN := PATH="$(CURDIR)/.venv/bin:$$PATH" VIRTUAL_ENV="$(CURDIR)/.venv"
BIN := .venv/bin
# the workers already share the cores
PYTEST := OMP_NUM_THREADS=1 $(RUN) $(BIN)/python -m pytest -n $(WORKERS)
LECTURES := $(wildcard modules/*/lectures/*.ipynb)
LECTURE_TEXTS := $(wildcard modules/*/lectures/*.md)
TYPED := $(wildcard autograder tests benchmarks) $(shell find modules -name '*.py')

# the code cells of a lecture, at the lines where they stand in its text
define LINT_LECTURES
	@bad=0; for lecture in $(LECTURE_TEXTS); do \
	  awk '/^```\{code-cell/ { code = 1; print ""; next } /^```/ { code = 0 } { print code && !/^[:%!]/ ? $$0 : "" }' $$lecture \
	  | $(RUN) $(BIN)/ruff check --quiet --output-format concise --stdin-filename $$lecture.py - || bad=1; done; exit $$bad
endef

define LINT
	@$(RUN) $(BIN)/ruff check --quiet
	@$(RUN) $(BIN)/ruff format --check --quiet || \
	{ echo "ruff format: the files above are not formatted; make format does it." >&2; exit 1; }
	$(if $(LECTURE_TEXTS),$(LINT_LECTURES))
	@$(RUN) $(BIN)/mypy $(TYPED)
	@$(RUN) $(BIN)/codespell
	@echo "ruff, mypy, and codespell find nothing."
endef

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv and install what requirements.lock pins (each verb does so by itself)
	$(SETUP)

build: ## build source/, release/, and the executed lectures from modules/
	$(SETUP)
	@$(RUN) $(BIN)/autograder build

check: ## check that every task tells right from wrong, and that what is built is fresh
	$(SETUP)
	@$(RUN) $(BIN)/autograder check

test: ## lint, run every test, and run every lecture against its stored outputs
	$(SETUP)
	$(LINT)
	@$(PYTEST) --dist loadfile --no-loadscope-reorder
	$(if $(LECTURES),@$(PYTEST) --dist loadfile --nbval $(LECTURES))

lab: ## open JupyterLab on the released exercises
	$(SETUP)
	@$(RUN) $(BIN)/jupyter lab --ServerApp.root_dir="$(CURDIR)" \
	  --LabApp.default_url=/lab/tree/release/m1_neural_networks $(LAB_FLAGS)

demo: ## grade a sample class, print its gradebook, and say where the feedback lies
	$(SETUP)
	@$(RUN) $(BIN)/autograder demo

bench: ## measure how fast checks answer, and how fast a class is graded (some twenty minutes)
	$(SETUP)
	@$(RUN) $(BIN)/python -m benchmarks.run
	@$(RUN) $(BIN)/python -m benchmarks.class_speed

lint: ## read everything authored with ruff, mypy, and codespell
	$(SETUP)
	$(LINT)

format: ## lay out the code as ruff does, and correct what it can
	$(SETUP)
	@$(RUN) $(BIN)/ruff check --fix
	@$(RUN) $(BIN)/ruff format

lock: ## pin the packages of pyproject.toml in requirements.lock; UPGRADE=--upgrade renews all
	$(SETUP)
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11) and \
	"The lock is made with the oldest Python that the course supports: make lock PYTHON=python3.11.")'
	@CUSTOM_COMPILE_COMMAND="make lock" $(RUN) $(BIN)/pip-compile --quiet --extra developers --strip-extras --allow-unsafe \
	  --no-emit-find-links --no-emit-index-url --no-emit-trusted-host --output-file requirements.lock $(UPGRADE) pyproject.toml
	@awk '/^autograder @/ { own = 1; next } own && /^    #/ { next } { own = 0; sub(/\+[a-z0-9.]+$$/, ""); print }' \
	  requirements.lock > requirements.lock.new && mv requirements.lock.new requirements.lock

clean: ## remove what tests and the demo left: demo/, build/, caches
	rm -rf demo build .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
	@find . -name .venv -prune -o -name .git -prune -o \
	  \( -name __pycache__ -o -name .ipynb_checkpoints \) -type d -prune -exec rm -rf {} +

distclean: clean ## clean, and remove .venv too
	rm -rf .venv autograder.egg-info
