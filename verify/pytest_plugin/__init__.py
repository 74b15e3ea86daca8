"""A pytest plugin: each check of a released file is a test of its own.

    pytest --verify-source model.pt --verify-file model.bin

Every pytest run in the environment loads this package. So it imports nothing but pytest before a check runs, and does
nothing without the options.

    pytest --verify-vectors model.vec --verify-file model.bin --verify-engine ./libmine.so

compares an engine with golden vectors; the fixture assert_golden_vectors does so for a function of a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from verify.pytest_plugin.judge import Judge
from verify.pytest_plugin.options import add_options, asked_of
from verify.pytest_plugin.session import JUDGE, Run
from verify.pytest_plugin.vectors import VECTORS, VectorsRun, asked_vectors, assertion_for


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options: their names begin with --verify-."""
    add_options(parser.getgroup("export-and-verify", "what a llama2.c-style .bin file computes, proved"))


def pytest_configure(config: pytest.Config) -> None:
    """Raise UsageError for options that cannot be meant; prepare to judge where files are named."""
    asked = asked_of(config)
    if asked is not None:
        config.stash[JUDGE] = Judge(asked)
        config.pluginmanager.register(Run(asked), "export-and-verify-run")
    vectors = asked_vectors(config)
    if vectors is not None:
        config.stash[VECTORS] = vectors
        config.pluginmanager.register(VectorsRun(vectors), "export-and-verify-vectors")


@pytest.fixture
def assert_golden_vectors(request: pytest.FixtureRequest) -> Iterator[Callable[..., None]]:
    """Assert that an engine gives the logits of --verify-vectors: assert_golden_vectors(engine, int8=False).

    engine: a function that takes token ids, int64 [length], and returns their logits [length, vocab_size]. int8: it
    rounds activations to int8, as runq.c does.
    """
    yield from assertion_for(request)
