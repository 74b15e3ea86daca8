"""A pytest plugin: each check of a released file is a test of its own.

    pytest --verify-source model.pt --verify-file model.bin

Every pytest run in the environment loads this package. So it imports nothing but pytest before a check runs, and does
nothing without the options.
"""

from __future__ import annotations

import pytest

from verify.pytest_plugin.judge import Judge
from verify.pytest_plugin.options import add_options, asked_of
from verify.pytest_plugin.session import JUDGE, Run


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options: their names begin with --verify-."""
    add_options(parser.getgroup("export-and-verify", "what a llama2.c-style .bin file computes, proved"))


def pytest_configure(config: pytest.Config) -> None:
    """Raise UsageError for options that cannot be meant; prepare to judge where files are named."""
    asked = asked_of(config)
    if asked is not None:
        config.stash[JUDGE] = Judge(asked)
        config.pluginmanager.register(Run(asked), "export-and-verify-run")
