"""`python -m core worker` in a process that knows the fake attack too: `python -m tests.jobs.worker_with_fakes`."""

import sys

import tests.jobs.register_fakes  # noqa: F401
from core.__main__ import main

if __name__ == "__main__":
    sys.exit(main(["worker", *sys.argv[1:]]))
