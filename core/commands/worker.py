"""`python -m core worker`: run the jobs of this home in the foreground."""

import argparse
import logging

from core.settings import load_settings

HELP = "Run queued jobs in the foreground; the dashboard starts the same thing by itself."
EXAMPLES = """examples:
  python -m core worker                                     until Ctrl-C
  python -m core worker --until-idle                        until no job is left
  SEMSIGHT_SCHEDULER=tcp://10.0.0.5:8786 python -m core worker    on the workers of a Dask cluster
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("--until-idle", action="store_true", help="end when no job is left that could run")


def run(arguments: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    from core.jobs.runner import run_jobs

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    run_jobs(load_settings(), until_idle=arguments.until_idle)
    return 0
