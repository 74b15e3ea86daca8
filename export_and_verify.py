"""Starts the command, after a look at whose packages it would import: `exporter` and `verify` are common names.

This is a module of its own, because it has the one name that no other project uses.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

PACKAGES = ("exporter", "reader_c", "verify")


def main() -> NoReturn:
    """Run the command line. Ends with status 2 and one line where a package belongs to another project."""
    if mistaken := _mistaken():
        sys.stderr.write(f"error: {mistaken}\n")
        sys.exit(2)
    from verify.cli import main as command  # noqa: PLC0415  # it may be another project's

    command()


def _mistaken() -> str | None:
    """Say which package is not the one beside this module, and what to do; None if all are."""
    here = Path(__file__).resolve().parent
    for name in PACKAGES:
        # nothing of it is run
        place = _place(find_spec(name))
        if place != here / name:
            found = "none" if place is None else f"another project's at {place}"
            return (
                f"{name}: expected export-and-verify's own package at {here / name}, found {found}: install "
                "export-and-verify where no other package is, with pipx install or uv tool install"
            )
    return None


def _place(spec: ModuleSpec | None) -> Path | None:
    """Return where a package's directory is, or a module's file."""
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return None if spec.origin is None else Path(spec.origin).resolve()


if __name__ == "__main__":
    main()
