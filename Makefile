# make app    install what is missing into .venv, then open the dashboard
# make test   install what is missing, then run the checks and tests
PYTHON ?= python3
BIN := .venv/bin
.DEFAULT_GOAL := app
.PHONY: app test check clean

.venv/app.done: requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

.venv/test.done: requirements.txt requirements-dev.txt .venv/app.done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

app: .venv/app.done
	$(BIN)/python -m streamlit run app.py

check: .venv/test.done
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: check
	$(BIN)/python -m pytest -n 3 --dist loadfile --durations=15

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
