"""How much memory a verdict takes, told before it begins; and how it is made to take less.

Counted is what cannot be given back: anonymous pages. A file that is mapped is not among them, since the system drops
its pages where they are wanted and reads them again.
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
from verify.oracle.logit_sigma import DRAWS
from verify.sources import Hyperparameters

_FLOAT, _DOUBLE = 4, 8
# Of weights that are asked for again and again, each way.
_CACHE = 1 << 28
# What blocks of rows, of logits and of random numbers take, and what allocators keep.
_BLOCKS = 256 << 20
# What transformers adds when it is imported.
_TRANSFORMERS = 150 << 20
_EVERY_SECONDS = 0.02


@dataclass(frozen=True)
class Plan:
    """limit: bytes, or None. streamed: transformers' layers are loaded one at a time. engines: windows that the C
    reader runs side by side. walks: those that are recorded side by side, None for all that are looked into. cache:
    bytes of weights that are kept, of each of the source's and the file's. peak: predicted, in bytes."""

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


# Of a process that has all the memory it wants.
AT_EASE = Plan(None, False, 2, None, _CACHE, 0)


@dataclass(frozen=True)
class Work:
    """What decides how much a verdict takes. batch: of windows of this length in the source's own pass; chosen: how
    many are looked into at a time; positions: of each that are held against the reference; held: bytes of the file's
    copy."""

    model: Hyperparameters
    length: int
    batch: int
    chosen: int
    positions: int
    held: int
    q8: bool
    huggingface: bool
    attributed: bool


def plan(work: Work, threads: int, limit: int | None) -> Plan:
    """Keep what fits: the whole model and a window a thread; else layer by layer, one window, and nothing twice.
    Raises CannotJudgeError where that is more than the limit too."""
    whole = 4 * sum(map(prod, work.model.shapes().values()))
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
        made = dataclasses.replace(made, peak=_anonymous() + predicted(work, made))  # noqa: PLW2901  # the same, priced
        if limit is None or made.peak <= limit:
            return made
    raise CannotJudgeError(
        f"memory: expected at least {_size(made.peak)} for this model and windows of {work.length} tokens, found "
        f"{_size(limit or 0)}: fewer tokens (--length) or windows (--windows) take less"
    )


def predicted(work: Work, made: Plan) -> int:
    """Bytes beyond what the process has now: what lasts, and the dearest stage."""
    model, tokens, vocab = work.model, work.length, work.model.vocab_size
    sizes = {name: prod(shape) for name, shape in model.shapes().items()}
    in_layer = [size for name, size in sizes.items() if name.startswith("layers.0.")]
    largest, layer = max(sizes.values()), sum(in_layer)
    q_dim, kv_dim = model.n_heads * model.head_dim, model.n_kv_heads * model.head_dim
    # numbers of a token that a layer holds; and scores, of all tokens
    stream, scores = 4 * model.dim + 2 * q_dim + 4 * kv_dim + 3 * model.hidden_dim, model.n_heads * tokens * tokens
    session = 2 * _FLOAT * model.n_layers * tokens * kv_dim + _FLOAT * min(tokens, 256) * stream
    # a tensor as it is stored, as float32, and as the file has it
    load = 10 * largest

    if not work.huggingface:
        oracle, wide = (_DOUBLE + _FLOAT) * largest, _DOUBLE
    elif made.streamed:
        oracle, wide = max(_FLOAT * layer + 8 * max(in_layer), 8 * largest), _FLOAT
    else:
        oracle, wide = _FLOAT * sum(sizes.values()) + 8 * largest, _FLOAT
    of_source = oracle + work.batch * (wide * (tokens * stream + 3 * scores) + 3 * _DOUBLE * tokens * vocab)
    engine = made.engines * (session + 2 * (1 + work.q8) * _FLOAT * tokens * vocab)
    held_positions = work.chosen * work.positions
    noisy = (1 + DRAWS) * work.chosen * _FLOAT
    of_noise = load + noisy * (work.positions * stream + 3 * model.n_heads * work.positions**2)
    of_file = (_DOUBLE + _FLOAT) * largest + held_positions * _DOUBLE * (stream + 3 * vocab)
    # a gradient, and both kinds of weights
    slopes = max(18 * largest, _FLOAT * layer + 18 * max(in_layer)) + 6 * _DOUBLE * work.positions * vocab
    walks = work.chosen if made.walks is None else made.walks
    recorded = session + 2 * _FLOAT * (tokens * (stream + q_dim) + 2 * scores)
    of_operations = load + walks * (recorded + 2 * _DOUBLE * tokens * max(in_layer) // model.dim)
    of_operations += 8 * _DOUBLE * scores + work.chosen * _FLOAT * tokens * vocab
    stages = (of_source + engine, of_noise, of_file, slopes if work.attributed else 0, of_operations)
    held = work.held + 2 * made.cache + held_positions * vocab * (2 * _DOUBLE + _FLOAT)
    imports = _TRANSFORMERS if work.huggingface else 0
    # allocators keep some of what is given back
    return int(1.05 * (held + _BLOCKS + imports + max(stages)))


def batch_of(windows: Sequence[Window], batches: Iterable[list[int]]) -> tuple[int, int]:
    """(windows, tokens of each) of the batch that has most tokens."""
    return max(((len(b), len(windows[b[0]].tokens)) for b in batches), key=lambda found: found[0] * found[1])


def mapped(path: str | os.PathLike[str], limit: int | None) -> bool | None:
    """Whether to map a file instead of copying it: None leaves it to the reader."""
    if limit is None:
        return None
    try:
        return os.stat(path).st_size > limit // 4  # noqa: PTH116  # a path of any bytes
    except (OSError, ValueError):
        return None


@dataclass(frozen=True)
class Taken:
    """peak: bytes that could not be given back. read: bytes that the system fetched from disk for this process."""

    peak: int
    read: int

    def describe(self) -> str:
        return f"{_size(self.peak)} of memory taken, {self.read / 1e9:,.1f} GB read from disk"


class Watch:
    """What this process takes in a `with`; its anonymous memory is looked at every 20 ms."""

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
    """What the C library keeps of what was freed, between two stages."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _anonymous() -> int:
    """Bytes of this process that no file could give back."""
    return _told_by("self/status", "RssAnon:") * 1024


def _from_disk() -> int:
    return _told_by("self/io", "read_bytes:")


def _of_machine() -> int:
    return _told_by("meminfo", "MemAvailable:") * 1024 or 1 << 34


def _told_by(file: str, name: str) -> int:
    """A number of Linux's; 0 where it does not tell."""
    try:
        lines = (Path("/proc") / file).read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def _size(count: int) -> str:
    """Rounded up, so that what is asked for is enough."""
    return f"{-(-count // (1 << 20)):,} MiB"
