# `make run` starts Forgetting Lab, `make test` runs every test that needs no download and no GPU.
# `make messages` brings the translations in step with the sources and lists what is to be translated.
# All make a virtual environment in .venv first; PYTHON names the Python (3.11 or newer) it is made with.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: run test messages clean

run: .venv/.run-installed
	$(BIN)/streamlit run app.py

test: .venv/.test-installed
	$(BIN)/ruff check .
	$(BIN)/python -m pytest -q

messages: .venv/.run-installed
	$(BIN)/python -m clcore.messages

clean:
	rm -rf .venv static

.venv/.run-installed: requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	touch $@

.venv/.test-installed: requirements-dev.txt requirements.txt | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -r requirements-dev.txt
	touch $@ .venv/.run-installed

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Forgetting Lab needs Python 3.11 or newer; this is %d.%d. Name another one: make run PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv .venv
