"""The command line. Exit status: 0 pass, 1 judged and failed, 2 could not be judged, 130 interrupted, 70 a bug."""

from verify.cli.exits import main

__all__ = ["main"]
