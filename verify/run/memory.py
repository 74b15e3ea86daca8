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
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from verify.errors import CannotJudgeError
from verify.evidence import Window
from verify.oracle.logit_sigma import draws_of
from verify.sources import Hyperparameters

_FLOAT, _DOUBLE = 4, 8
# Bytes of weights that are kept because they are asked for again: of the source's, and of the file's.
_CACHE = 1 << 28
# Bytes for blocks of rows, of logits and of random numbers, and for what allocators keep.
_BLOCKS = 256 << 20
# Bytes that importing transformers takes.
_TRANSFORMERS = 150 << 20
_EVERY_SECONDS = 0.02


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


@dataclass(frozen=True)
class Work:
    """The sizes that decide how much memory a verdict takes.

    length: tokens of the longest window. batch: windows in one pass of the source. traced: windows that are traced at
    a time. positions: of a traced window, those whose storage's cost is attributed. held: bytes of the file's copy.
    lossy: the file's weights are others than the source's. directory: transformers runs what is judged, whole, in
    place of the C reader.
    """

    hyper: Hyperparameters
    length: int
    batch: int
    traced: int
    positions: int
    held: int
    q8: bool
    huggingface: bool
    lossy: bool
    directory: bool = False


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
    raise CannotJudgeError(
        f"memory: expected at least {_size(made.peak)} for this model and windows of {work.length} tokens, found "
        f"{_size(limit or 0)}: give fewer tokens (--length) or windows (--windows)"
    )


def predicted(work: Work, made: Plan) -> int:
    """Bytes beyond what the process has now: what lasts, and the stage that takes most."""
    sizes = _Sizes.of(work)
    stages = (
        _references(work, made, sizes) + _judged_pass(work, made, sizes),
        _storage_cost(work, sizes) if work.lossy and not work.directory else 0,
        0 if work.directory else _operations(work, made, sizes),
    )
    # the first positions of one window, by both kinds of weights
    logits = 2 * _DOUBLE * work.positions * work.hyper.vocab_size if work.lossy else 0
    lasting = work.held + 2 * made.cache + logits
    imports = _TRANSFORMERS if work.huggingface or work.directory else 0
    # allocators keep some of what is freed
    return int(1.05 * (lasting + _BLOCKS + imports + max(stages)))


@dataclass(frozen=True)
class _Sizes:
    """Elements. largest: of a tensor. layer, largest_in_layer: of the tensors of a layer. every: of all tensors.
    stream: numbers of one token that a layer holds. scores: attention scores of all tokens. session: bytes."""

    largest: int
    layer: int
    largest_in_layer: int
    every: int
    stream: int
    scores: int
    session: int

    @classmethod
    def of(cls, work: Work) -> _Sizes:
        hyper, tokens = work.hyper, work.length
        sizes = {name: prod(shape) for name, shape in hyper.shapes().items()}
        in_layer = [size for name, size in sizes.items() if name.startswith("layers.0.")]
        q_dim, kv_dim = hyper.n_heads * hyper.head_dim, hyper.n_kv_heads * hyper.head_dim
        stream = 4 * hyper.dim + 2 * q_dim + 4 * kv_dim + 3 * hyper.hidden_dim
        return cls(
            largest=max(sizes.values()),
            layer=sum(in_layer),
            largest_in_layer=max(in_layer),
            every=sum(sizes.values()),
            stream=stream,
            scores=hyper.n_heads * tokens * tokens,
            # the keys and values of all layers, and the scratch of at most 256 tokens
            session=2 * _FLOAT * hyper.n_layers * tokens * kv_dim + _FLOAT * min(tokens, 256) * stream,
        )

    @property
    def load(self) -> int:
        """Bytes of a tensor as it is stored, as float32, and as the file has it."""
        return 10 * self.largest


def _references(work: Work, made: Plan, sizes: _Sizes) -> int:
    """Every reference for a batch: the logits on each kind of weights, then the noise beside them."""
    logits = work.batch * work.length * work.hyper.vocab_size
    wide = _FLOAT if work.huggingface else _DOUBLE
    kept = (1 + work.lossy) * wide * logits
    # a clean copy and its noisy ones; then their logits, variances and shares
    copies = (1 + draws_of(work.hyper, work.length)) * work.batch * _FLOAT
    noise = sizes.load + copies * (work.length * sizes.stream + 3 * sizes.scores) + 4 * _FLOAT * logits
    return kept + max(_weights(work, made, sizes) + _source_pass(work, sizes), _held(work, made, sizes) + noise)


def _weights(work: Work, made: Plan, sizes: _Sizes) -> int:
    """The weights of a pass, with those that are being read."""
    if not work.huggingface:
        return (_DOUBLE + _FLOAT) * sizes.largest
    if made.streamed:
        return max(_FLOAT * sizes.layer + 8 * sizes.largest_in_layer, 8 * sizes.largest)
    return _held(work, made, sizes) + 8 * sizes.largest


def _held(work: Work, made: Plan, sizes: _Sizes) -> int:
    """The models of transformers that stay in memory, one for each kind of weights."""
    return (1 + work.lossy) * _FLOAT * sizes.every if work.huggingface and not made.streamed else 0


def _source_pass(work: Work, sizes: _Sizes) -> int:
    """The activations and scores of a layer, and the logits as they are made."""
    wide = _FLOAT if work.huggingface else _DOUBLE
    return work.batch * wide * (work.length * (sizes.stream + 2 * work.hyper.vocab_size) + 3 * sizes.scores)


def _judged_pass(work: Work, made: Plan, sizes: _Sizes) -> int:
    """The pass of what is judged, beside the references: a directory by transformers, a file by the C reader."""
    if not work.directory:
        # a session, and the logits of the pass that runs and of one that waits
        return made.engines * (sizes.session + 2 * _FLOAT * work.length * work.hyper.vocab_size)
    return _FLOAT * sizes.every + _source_pass(dataclasses.replace(work, huggingface=True), sizes)


def _storage_cost(work: Work, sizes: _Sizes) -> int:
    """A gradient, both kinds of weights, and six float64 copies of the first positions' logits."""
    weights = max(18 * sizes.largest, _FLOAT * sizes.layer + 18 * sizes.largest_in_layer)
    return weights + 6 * _DOUBLE * work.positions * work.hyper.vocab_size


def _operations(work: Work, made: Plan, sizes: _Sizes) -> int:
    """What a recorded layer holds, for each window side by side, and its recomputation in float64."""
    hyper = work.hyper
    windows = work.traced if made.walks is None else made.walks
    q_dim = hyper.n_heads * hyper.head_dim
    recorded = sizes.session + 2 * _FLOAT * (work.length * (sizes.stream + q_dim) + 2 * sizes.scores)
    recomputed = 2 * _DOUBLE * work.length * sizes.largest_in_layer // hyper.dim
    # as recorded, and of the other ways to call the reader
    logits = (work.traced + 4) * _FLOAT * work.length * hyper.vocab_size
    return sizes.load + windows * (recorded + recomputed) + 8 * _DOUBLE * sizes.scores + logits


def batch_of(windows: Sequence[Window], batches: Iterable[list[int]]) -> tuple[int, int]:
    """Return (windows, tokens of each) of the batch with the most tokens."""
    return max(((len(b), len(windows[b[0]].tokens)) for b in batches), key=lambda found: found[0] * found[1])


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
