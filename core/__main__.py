"""`python -m core COMMAND`: the command line. Each command is a file of core/commands."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from core.errors import UserError

COMMANDS = ("audit", "score", "train", "campaign", "settings", "datasets", "correlate", "doctor", "worker")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 only when all that was asked was done. Errors are one sentence on standard error."""
    parser = argparse.ArgumentParser(prog="python -m core", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in COMMANDS:
        module = importlib.import_module(f"core.commands.{name}")
        command = commands.add_parser(
            name,
            help=module.HELP,
            description=module.HELP,
            epilog=module.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    parsed = parser.parse_args(arguments)
    try:
        status = parsed.run(parsed)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("error: stopped by you before it was done.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # what reads our output, such as `head`, has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
