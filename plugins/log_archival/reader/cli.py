"""The command ``log-archival``, for the archive account's people: they may read."""

import argparse
import json
import os
import signal
import sys

from log_archival.exceptions import LogArchivalError
from log_archival.reader.arguments import parser
from log_archival.reader.templates import run_templates

EXIT_FAILED = 2  # 0 and 1 are those of reader/commands.py


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and return its exit status.

    :param arguments: those of the command line; None for this process's
    """
    for stream in (sys.stdout, sys.stderr):
        # Whatever the locale, no file's name causes a UnicodeEncodeError.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    options = parser().parse_args(arguments)
    try:
        if options.command == "templates":
            return run_templates(options)
        from log_archival.reader.commands import run  # here: --help doesn't wait for botocore

        status = run(options)
        sys.stdout.flush()  # here, where a closed pipe is handled
    except LogArchivalError as error:
        return _failed(options, str(error))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("log_archival"):
            raise
        return _failed(
            options, f"the Python package {error.name!r} is missing; install it with pip install log-archival"
        )
    except KeyboardInterrupt:
        print(f"log-archival {options.command}: interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except BrokenPipeError:
        # Whoever reads the output has seen enough. Python would print an error when it closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_FAILED
    return status


def _failed(options: argparse.Namespace, message: str) -> int:
    """Print why the command failed, and return its exit status."""
    print(f"log-archival {options.command}: {message}", file=sys.stderr)
    if options.json:
        print(json.dumps({"ok": False, "error": message}))
    return EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
