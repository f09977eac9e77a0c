"""correlate"""

import argparse

HELP = "correlate"
EXAMPLES = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""


def run(arguments: argparse.Namespace) -> int:
    """Do it; return the exit status."""
    return 1
