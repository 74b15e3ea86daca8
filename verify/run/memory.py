"""The memory that a verdict takes: predicted, planned within a limit, and measured.

Only memory that the system cannot reclaim is counted: anonymous pages. The pages of a mapped file are not counted,
because the system can drop them and read them again.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from verify.checks.storage import draws_of, positions_of
from verify.errors import CannotJudgeError
from verify.run.engine_memory import memory_of_trial
from verify.run.work import DOUBLE, FLOAT, Shape, Sizes, Work

# Bytes of weights that are kept because they are asked for again: of the source's, and of the file's.
_CACHE = 1 << 28
# Bytes for blocks of rows, of logits and of random numbers, and for what allocators keep.
_BLOCKS = 256 << 20
# Bytes that importing transformers takes.
_TRANSFORMERS = 150 << 20
_EVERY_SECONDS = 0.02
# glibc's names for settings of malloc, the largest block that it keeps, and how many bytes it keeps.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_KEPT, _KEPT = 32 << 20, 128 << 20


@dataclass(frozen=True)
class Plan:
    """How a verdict stays within a limit.

    limit: bytes, or None. streamed: transformers' layers are loaded one at a time. engines: windows that the C reader
    runs side by side. walks: traced windows that are recorded side by side; None for all. cache: bytes of weights
    that are kept, each of the source's and of the file's. peak: predicted bytes.
    """

    limit: int | None
    streamed: bool
    engines: int
    walks: int | None
    cache: int
    peak: int

    def describe(self) -> str:
        how = "transformers one layer at a time, " if self.streamed else ""
        many = "1 window" if self.engines == 1 else f"{self.engines} windows"
        return f"at most {_size(self.peak)} of memory expected ({how}{many} at a time in C)"


# The plan of a process without a limit.
AT_EASE = Plan(None, False, 2, None, _CACHE, 0)


def plan(work: Work, threads: int, limit: int | None) -> Plan:
    """Choose the first plan that fits: the whole model with a window for each thread; else layer by layer; else also
    without a cache; else also one window at a time. Raises CannotJudgeError if none fits."""
    whole = 4 * sum(map(prod, work.hyper.shapes().values()))
    room = limit if limit is not None else _of_machine() // 2
    at_ease = Plan(limit, work.huggingface and whole > room, threads, None, _CACHE, 0)
    frugal = dataclasses.replace(at_ease, streamed=work.huggingface, cache=0)
    plans = [
        at_ease,
        dataclasses.replace(frugal, cache=_CACHE),
        frugal,
        dataclasses.replace(frugal, engines=1, walks=1),
    ]
    for made in plans:
        made = dataclasses.replace(made, peak=_anonymous() + predicted(work, made))  # noqa: PLW2901  # the same plan, with its prediction
        if limit is None or made.peak <= limit:
            return made
    longest = max(shape.length for shape in work.shapes)
    raise CannotJudgeError(
        f"memory: expected at least {_size(made.peak)} for this model and windows of {longest} tokens, found "
        f"{_size(limit or 0)}: give fewer tokens (--length) or windows (--windows)"
    )


def predicted(work: Work, made: Plan) -> int:
    """Bytes beyond what the process has now: what lasts, and the stage that takes most."""
    stages = [stage for shape in work.shapes for stage in _stages(work, shape, made)]
    # the first positions of one window, by both kinds of weights
    positions = max(shape.positions for shape in work.shapes if shape.traced or len(work.shapes) == 1)
    logits = 2 * DOUBLE * positions * work.hyper.vocab_size if work.lossy else 0
    lasting = work.held + 2 * made.cache + logits
    imports = _TRANSFORMERS if work.huggingface or work.directory else 0
    # allocators keep some of what is freed
    return int(1.05 * (lasting + _BLOCKS + imports + max(stages)))


def _stages(work: Work, shape: Shape, made: Plan) -> Iterator[int]:
    """Bytes of each stage on the windows of one length."""
    sizes = Sizes.of(work.hyper, shape.length)
    yield _references(work, shape, made, sizes) + _judged_pass(work, shape, made, sizes)
    if shape.traced and work.lossy:
        yield _draws(work, shape, sizes)
    if shape.traced and not work.directory:
        yield _storage_cost(work, shape, sizes) if work.lossy else 0
        yield _operations(work, shape, made, sizes)


def _references(work: Work, shape: Shape, made: Plan, sizes: Sizes) -> int:
    """Every reference for a batch: the logits on each kind of weights, then the noise beside them."""
    logits = shape.batch * shape.length * work.hyper.vocab_size
    wide = FLOAT if work.huggingface else DOUBLE
    kept = (1 + work.lossy) * wide * logits
    # one noisy pass and the variances; or one pass without noise, and its logits
    noise = sizes.load + shape.batch * FLOAT * (shape.length * sizes.stream + 3 * sizes.scores) + 2 * FLOAT * logits
    running = _weights(work, made, sizes) + _source_pass(work, shape, sizes)
    trial = memory_of_trial(work.hyper, shape.length, sizes) if work.int8_engine else 0
    return kept + max(running, _models(work, made, sizes) + max(noise, trial))


def _weights(work: Work, made: Plan, sizes: Sizes) -> int:
    """The weights of a pass, with those that are being read."""
    if not work.huggingface:
        return (DOUBLE + FLOAT) * sizes.largest
    if made.streamed:
        layer = FLOAT * (sizes.layer + sizes.joined) + 8 * sizes.largest_in_layer
        return max(layer, 8 * sizes.largest)
    return _models(work, made, sizes) + FLOAT * sizes.joined + 8 * sizes.largest


def _models(work: Work, made: Plan, sizes: Sizes) -> int:
    """The models of transformers that stay in memory, one for each kind of weights."""
    return (1 + work.lossy) * FLOAT * sizes.every if work.huggingface and not made.streamed else 0


def _source_pass(work: Work, shape: Shape, sizes: Sizes) -> int:
    """The activations and scores of a layer, and the logits as they are made."""
    wide = FLOAT if work.huggingface else DOUBLE
    return shape.batch * wide * (shape.length * (sizes.stream + 2 * work.hyper.vocab_size) + 3 * sizes.scores)


def _judged_pass(work: Work, shape: Shape, made: Plan, sizes: Sizes) -> int:
    """The pass of what is judged, beside the references: a directory by transformers, a file by the C reader."""
    if not work.directory:
        # a session, and the logits of the pass that runs and of one that waits
        return made.engines * (sizes.session + 2 * FLOAT * shape.length * work.hyper.vocab_size)
    return FLOAT * sizes.every + _source_pass(dataclasses.replace(work, huggingface=True), shape, sizes)


def _storage_cost(work: Work, shape: Shape, sizes: Sizes) -> int:
    """A gradient, both kinds of weights, and six float64 copies of the first positions' logits."""
    weights = max(18 * sizes.largest, FLOAT * sizes.layer + 18 * sizes.largest_in_layer)
    return weights + 6 * DOUBLE * shape.positions * work.hyper.vocab_size


def _draws(work: Work, shape: Shape, sizes: Sizes) -> int:
    """The draws of honest storage: a layer with its errors, each draw's stream, and logits of both sides."""
    hyper, windows = work.hyper, max(shape.batch, 1)
    tokens = windows * positions_of(hyper, shape.length)
    # weights, errors and codes of a layer, then of the classifier, and what is made of one tensor
    weights = max(9 * sizes.layer + 12 * sizes.largest_in_layer, 14 * sizes.largest)
    scores = 3 * hyper.n_heads * tokens * positions_of(hyper, shape.length)
    streams = 2 * FLOAT * (tokens * (sizes.stream + draws_of(hyper) * hyper.dim) + scores)
    return weights + streams + tokens * hyper.vocab_size * (4 * DOUBLE + 2 * FLOAT)


def _operations(work: Work, shape: Shape, made: Plan, sizes: Sizes) -> int:
    """What a recorded layer holds, for each window side by side, and its recomputation in float64."""
    hyper = work.hyper
    windows = shape.traced if made.walks is None else made.walks
    q_dim = hyper.n_heads * hyper.head_dim
    recorded = sizes.session + 2 * FLOAT * (shape.length * (sizes.stream + q_dim) + 2 * sizes.scores)
    recomputed = 2 * DOUBLE * shape.length * sizes.largest_in_layer // hyper.dim
    logits = FLOAT * shape.length * hyper.vocab_size
    recording = sizes.load + windows * (recorded + recomputed) + 8 * DOUBLE * sizes.scores
    # the other ways to call the reader come afterwards, with logits of their own
    return shape.traced * logits + max(recording, sizes.session + 4 * logits)


def mapped(path: str | os.PathLike[str], limit: int | None) -> bool | None:
    """Whether to map a file instead of copying it. None leaves the choice to the reader."""
    if limit is None:
        return None
    try:
        return os.stat(path).st_size > limit // 4  # noqa: PTH116  # a path of any bytes
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Taken:
    """The measured cost. peak: bytes that could not be reclaimed. read: bytes fetched from disk for this process."""

    peak: int
    read: int

    def describe(self) -> str:
        return f"{_size(self.peak)} of memory taken, {self.read / 1e9:,.1f} GB read from disk"


class Watch:
    """Measures what this process takes within a `with`; it samples anonymous memory every 20 ms."""

    def __init__(self) -> None:
        self._peak, self._read_before = 0, 0
        self._stop = threading.Event()

    @property
    def taken(self) -> Taken:
        """So far."""
        return Taken(max(self._peak, _anonymous()), _from_disk() - self._read_before)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        def look() -> None:
            while not self._stop.wait(_EVERY_SECONDS):
                self._peak = max(self._peak, _anonymous())

        self._peak, self._read_before = _anonymous(), _from_disk()
        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()


def keep_freed_memory() -> None:
    """Let the C library keep blocks that are freed within a stage, because the next step takes blocks of the same
    sizes.

    Otherwise each step gets fresh pages from the system, which takes longer than many of the steps themselves. Only
    glibc has these settings; elsewhere nothing changes. give_back() returns what is kept.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        library.mallopt(_M_TRIM_THRESHOLD, _KEPT)


def give_back() -> None:
    """Return freed memory that the C library keeps to the system, between two stages."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _anonymous() -> int:
    """Bytes of this process that the system cannot reclaim."""
    return _from_proc("self/status", "RssAnon:") * 1024


def _from_disk() -> int:
    return _from_proc("self/io", "read_bytes:")


def _of_machine() -> int:
    return _from_proc("meminfo", "MemAvailable:") * 1024 or 1 << 34


def _from_proc(file: str, name: str) -> int:
    """Read a number from Linux's /proc; 0 if it is not there."""
    try:
        lines = (Path("/proc") / file).read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def _size(count: int) -> str:
    """Format a size, rounded up, so that the stated memory is enough."""
    return f"{-(-count // (1 << 20)):,} MiB"
