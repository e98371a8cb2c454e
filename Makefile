# `make` lists the targets. Each creates its virtual environment on the first run and reuses it
# afterwards; only Python and make are needed.

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
# The environment is reinstalled when the metadata change.
READY = $(VENV)/.ready
# The version of scikit-learn for `make test-sklearn`.
SKLEARN ?= 1.8

.PHONY: help demo test test-min test-sklearn test-deep test-scale lint docs bench clean

help:
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(READY)  ## run the examples: tables, and pictures in output/
	$(RUN) docs/examples/quickstart.py
	$(RUN) docs/examples/image_cascade.py

test: $(READY)  ## run every test, and require 98 % coverage of the package
	$(RUN) -m pytest --cov=sklearn_cascade --cov-report=term:skip-covered --cov-fail-under=98

test-min: .venv-min/.ready  ## run every test with the oldest supported versions of all dependencies
	.venv-min/bin/python -m pytest

test-sklearn: .venv-sklearn-$(SKLEARN)/.ready  ## run scikit-learn's checks with one version of it: SKLEARN=1.7
	.venv-sklearn-$(SKLEARN)/bin/python -m pytest tests/test_common.py

test-deep: .venv-deep/.ready  ## run the tests of deep nets: installs torch, skorch, keras, some 2 GB
	.venv-deep/bin/python -m pytest tests/members/test_deep_nets.py

test-scale: .venv-scale/.ready  ## run the tests of Dask, Ray, Spark and of serving: some 2 GB, Java needed
	.venv-scale/bin/python -m pytest tests/scale

# Checks left out: position of the quotes, optional sections, form of one-sentence docstrings. The tests
# require every parameter and return value of a public name to be documented; a private function may
# describe them in its one sentence. .pre-commit-config.yaml has the same list.
NOT_ASKED = GL01,GL02,GL08,ES01,EX01,SA01,SS05,PR01,PR04,RT01,RT02,RT03,YD01

lint: $(READY)  ## check style, spelling, types, and docstrings against signatures
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/typos
	$(RUN) -m mypy
	$(RUN) -m numpydoc lint --ignore $(NOT_ASKED) $$(find sklearn_cascade -name '*.py')

docs: $(VENV)/.docs  ## build the documentation into docs/_build, warnings as errors, links checked
	$(RUN) -m sphinx -q -W --keep-going -b html docs docs/_build/html
	$(RUN) docs/check_links.py docs/_build/html

bench: $(READY)  ## print the benchmark tables
	$(RUN) -m benchmarks predict

clean:  ## remove environments and everything built
	rm -rf .venv .venv-min .venv-sklearn-* .venv-deep .venv-scale build dist output docs/_build docs/api docs/auto_gallery *.egg-info .coverage
	rm -rf .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): setup.cfg pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 10) and 'Python 3.10 or later is needed; make PYTHON=... names one')"
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[test,boosters,boosters-onnx,plot,bench,lint]'
	@touch $@

.venv-min/.ready: setup.cfg pyproject.toml tests/constraints-min.txt
	test -x .venv-min/bin/python || $(PYTHON) -m venv .venv-min
	.venv-min/bin/python -m pip install --quiet --disable-pip-version-check -c tests/constraints-min.txt -e '.[test,boosters]'
	@touch $@

.venv-sklearn-%/.ready: setup.cfg pyproject.toml
	test -x .venv-sklearn-$*/bin/python || $(PYTHON) -m venv .venv-sklearn-$*
	.venv-sklearn-$*/bin/python -m pip install --quiet --no-compile --disable-pip-version-check 'scikit-learn==$*.*' -e '.[test]'
	@touch $@

.venv-deep/.ready: setup.cfg pyproject.toml tests/constraints-deep.txt
	test -x .venv-deep/bin/python || $(PYTHON) -m venv .venv-deep
	.venv-deep/bin/python -m pip install --quiet --disable-pip-version-check -c tests/constraints-deep.txt -e '.[test,deep]'
	@touch $@

.venv-scale/.ready: setup.cfg pyproject.toml tests/constraints-scale.txt
	test -x .venv-scale/bin/python || $(PYTHON) -m venv .venv-scale
	.venv-scale/bin/python -m pip install --quiet --disable-pip-version-check -c tests/constraints-scale.txt -e '.[test,scale]'
	@touch $@

$(VENV)/.docs: $(READY)
	$(RUN) -m pip install --quiet --disable-pip-version-check -e '.[docs]'
	@touch $@
