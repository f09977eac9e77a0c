"""Fixtures of tests/filled_fixtures.py, for every test here."""

from tests.filled_fixtures import filled, store, template

__all__ = ["filled", "store", "template"]
