"""What only Hugging Face sources need: imported where it is used, and kept off the terminal."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from verify.errors import CannotJudgeError


def wanted(module: str) -> ModuleType:
    """transformers, tokenizers or huggingface_hub. Raises CannotJudgeError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise CannotJudgeError(
            f"{module}: wanted for a Hugging Face source, found none that imports: "
            "pip install export-and-verify[huggingface]"
        ) from error


@contextmanager
def quiet_transformers() -> Iterator[ModuleType]:
    """transformers without its log, progress bars and warnings; its settings are put back afterwards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers = wanted("transformers")
        log = importlib.import_module("transformers.utils.logging")
        verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
        # above critical: what matters of its warnings is checked here, by name
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
    """huggingface_hub, whose progress bars are for a terminal alone."""
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
    """An error's message, or its kind, as a line that is not too long."""
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
