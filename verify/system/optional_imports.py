"""Packages that only some uses need, as Hugging Face sources do: imported on use, and kept off the terminal."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from verify.errors import CannotJudgeError


def wanted(module: str, purpose: str = "for Hugging Face sources", extra: str = "huggingface") -> ModuleType:
    """Import a package of an extra. Raises CannotJudgeError if it cannot be imported."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CannotJudgeError(
            f"{module}: required {purpose} and could not be imported: pip install 'export-and-verify[{extra}]'"
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[ModuleType]:
    """Import transformers without its log, progress bars and warnings; restore its settings afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = wanted("transformers")
        log = importlib.import_module("transformers.utils.logging")
        verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
        # above critical: the conditions that it warns about are checked here, by name
        log.set_verbosity(log.CRITICAL + 1)
        log.disable_progress_bar()
        try:
            yield transformers
        finally:
            log.set_verbosity(verbosity)
            if bars:
                log.enable_progress_bar()


@contextmanager
def quiet_hub() -> Iterator[ModuleType]:
    """Import huggingface_hub, with progress bars only on a terminal."""
    hub = wanted("huggingface_hub")
    bars = importlib.import_module("huggingface_hub.utils")
    if sys.stderr.isatty() or bars.are_progress_bars_disabled():
        yield hub
        return
    bars.disable_progress_bars()
    try:
        yield hub
    finally:
        bars.enable_progress_bars()


def one_line(error: BaseException) -> str:
    """Return an error's message, or its type, as one line of at most 200 characters."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
