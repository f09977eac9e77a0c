"""Importing this makes a process know the fake attack: workers by DASK_DISTRIBUTED__WORKER__PRELOAD."""

from core.attacks import ATTACKS
from core.registry import register
from tests.jobs.fakes import FAKE

register(ATTACKS, "fake", FAKE)
