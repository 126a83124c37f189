# Thin on purpose: every target calls one command.
PYTHON ?= python3
UV_VERSION := 0.13.8
PROFILE ?= classroom
BIN := .venv/bin

.PHONY: book test live pdf links lint bench env pins clean

book: .venv/ready          ## the paper at _build/html/index.html
	@AKP_INSTALL_SECONDS=$$(cat .venv/seconds 2>/dev/null) $(BIN)/akp book --profile $(PROFILE); \
	  status=$$?; rm -f .venv/seconds; exit $$status

test: .venv/ready          ## everything that must hold
	@$(BIN)/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile

live: .venv/ready          ## the live lab, in a browser
	@$(BIN)/akp live

pdf: .venv/ready           ## the printed book as one PDF (needs Chromium)
	@$(BIN)/akp pdf

links: .venv/ready         ## whether addresses outside still answer (needs the internet)
	@$(BIN)/akp links

lint: .venv/ready          ## style and types
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/mypy

bench: .venv/ready         ## every benchmark: what was measured, its goal and its floor
	@$(BIN)/python -m benchmarks

env: .venv/ready           ## only the environment

.venv/ready: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if (3, 11) <= v < (3, 14) else "expected Python 3.11 to 3.13, got %d.%d: name one with make PYTHON=python3.12 ..." % v[:2])'
	@echo "installing the environment into .venv (several GB the first time, as torch brings CUDA)"
	@date +%s > .install-started
	@$(PYTHON) -m venv .venv || { echo "could not make .venv: install your system's venv package (Debian: python3-venv)" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.txt -e .
	@$(BIN)/python -c "import torch, torchvision; print('torch', torch.__version__, 'torchvision', torchvision.__version__, 'CUDA:', torch.cuda.is_available())"
	@echo $$(( $$(date +%s) - $$(cat .install-started) )) > .venv/seconds && rm .install-started
	@touch $@

pins: .venv/ready          ## resolve pyproject.toml into requirements.txt again
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --all-extras --no-header --no-annotate \
	  $$($(BIN)/uv pip freeze --python $(BIN)/python | grep -oE '^(nvidia|cuda|triton)[a-z0-9-]*' | sed 's/^/--no-emit-package /') \
	  pyproject.toml -o .venv/pins
	@{ head -2 requirements.txt; grep -v '^#' .venv/pins; } > .venv/requirements && mv .venv/requirements requirements.txt

clean:                     ## forget built pages and trained networks, keep the environment
	@rm -rf _build
