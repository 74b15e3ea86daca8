"""The cost of a verdict, predicted before it begins: memory, and bytes to read.

Every pass over the weights reads them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import ceil, prod

import torch

import reader_c
from verify.checks.storage import judged_windows
from verify.engine.probes import BATCHES, PROBES
from verify.engine.probes import LENGTH as PROBE_LENGTH
from verify.evidence import Window
from verify.evidence.depth import DEPTHS, traced_positions, traced_windows
from verify.oracle import llama
from verify.run.compared_windows import ARITHMETICS, activations_of
from verify.run.memory import Plan, Taken, plan, predicted
from verify.run.other_ways import passes_of
from verify.run.reference_logits import agrees, same_numbers
from verify.run.work import Shape, Work
from verify.sources import Hyperparameters, Source

# Elements of the largest float64 array that a batch of windows makes (logits or attention shares). The allocator
# reuses memory up to the smaller size. A model with far larger weights takes up to the larger size, because every
# batch reads all weights once a pass.
_BATCH_ELEMENTS = (1 << 21, 1 << 24)

_WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2}
# Passes by the checks on bytes: `tensors` reads source and file, and the file is read again for its digest.
_CHECKED, _CHECKED_OF_FILE = 1, 2
# Passes over a directory: two digests, the source's reader, `tensors`, and transformers.
_CHECKED_OF_DIRECTORY = 5
# Bytes that a long window may take beyond the depth's ordinary ones where --memory states no limit.
_FOR_A_LONG_WINDOW = 4 << 30
# Bytes of a process that has imported PyTorch and transformers.
_PROCESS = 512 << 20
# Passes over the source that attribute the cost of storage to tensors.
_ATTRIBUTED = 2
# Passes of the check `storage` over each batch: the reference on the weights of source and file, and the draws.
_OF_STORAGE = 3


@dataclass(frozen=True)
class Cost:
    """The predicted cost. reads: bytes, including those that the system still has in its cache."""

    plan: Plan
    reads: int

    def describe(self) -> str:
        return f"{self.plan.describe()}; at most {self.reads / 1e9:,.1f} GB to read, less what the system has cached"

    def beside(self, taken: Taken) -> dict[str, int | None]:
        """Return prediction and measurement for the report, in bytes."""
        memory = {"limit": self.plan.limit, "predicted": self.plan.peak, "peak": taken.peak}
        return {**memory, "reads_predicted": self.reads, "reads": taken.read}


def cost_of(
    model: reader_c.Model,
    source: Source,
    windows: Sequence[Window],
    depth: str,
    limit: int | None,
    *,
    int8_engine: bool = False,
) -> Cost:
    """Predict the cost of a verdict, and plan how to stay within the limit.

    limit: bytes of memory, if any. int8_engine: as in Work.
    Raises CannotJudgeError if no plan stays within the limit.
    """
    hyper = source.hyperparameters
    batches = list(batches_of(windows, list(range(len(windows))), hyper))
    traced = list(batches_of(windows, traced_windows(windows, depth), hyper, times=2))
    work = Work(
        hyper=hyper,
        shapes=_shapes(windows, batches, traced, partial(traced_positions, depth)),
        held=0 if model.mapped else model.file_size,
        q8=bool(model.config.group_size),
        huggingface=source.kind == "huggingface",
        lossy=not same_numbers(source, model),
        int8_engine=int8_engine,
    )
    made = plan(work, torch.get_num_threads(), limit)
    reads = _reads(source, model, made, windows, batches, traced) + _reads_of_storage(source, model, windows)
    if int8_engine:
        reads += _reads_of_trial(source, model, windows)
    return Cost(made, reads)


def cost_of_directory(
    source: Source, size: int, windows: Sequence[Window], depth: str, limit: int | None, *, lossless: bool
) -> Cost:
    """Predict the cost of a verdict on a directory. size: bytes of its files. lossless: it holds the source's bits.

    Raises CannotJudgeError if no plan stays within the limit.
    """
    hyper, by_others = source.hyperparameters, source.kind == "huggingface"
    batches = list(batches_of(windows, list(range(len(windows))), hyper))
    traced = list(batches_of(windows, traced_windows(windows, depth), hyper, times=2))
    work = Work(
        hyper=hyper,
        shapes=_shapes(windows, batches, traced, partial(traced_positions, depth)),
        held=0,
        q8=False,
        huggingface=by_others,
        lossy=not lossless,
        directory=True,
    )
    made = plan(work, torch.get_num_threads(), limit)
    weights = 1 + (not lossless)
    of_source = _CHECKED + weights * (1 if by_others and not made.streamed else len(batches)) + len(batches)
    of_source += sum(agrees(windows, batch) for batch in batches) if by_others else 0
    reads = of_source * _bytes_of_a_pass(source) + _CHECKED_OF_DIRECTORY * size
    reads += len(batches) * _bytes_of_classifier(source)
    return Cost(made, reads if lossless else reads + _reads_of_draws(source, judged_windows(hyper, windows)))


def _shapes(
    windows: Sequence[Window],
    batches: list[list[int]],
    traced: list[list[int]],
    positions: Callable[[int], int],
) -> tuple[Shape, ...]:
    """Return a shape for each length of the windows."""

    def most(of: list[list[int]], length: int) -> int:
        return max((len(numbers) for numbers in of if len(windows[numbers[0]].tokens) == length), default=0)

    lengths = {len(window.tokens) for window in windows}
    return tuple(
        Shape(length, most(batches, length), most(traced, length), positions(length)) for length in sorted(lengths)
    )


def long_window_fits(source: Source, depth: str, limit: int | None, length: int) -> bool:
    """Return whether the memory is there for one window of that length, longer than the depth's own.

    The answer depends on the source, the depth and --memory alone, and not on the file or the machine: files in other
    formats, and later releases, are compared on the same windows.
    """
    asked, huggingface = DEPTHS[depth], source.kind == "huggingface"
    frugal = Plan(limit, streamed=huggingface, engines=1, walks=1, cache=0, peak=0)

    def needed(tokens: int) -> int:
        shape = Shape(tokens, 1, int(asked.traced is None), traced_positions(depth, tokens))
        return predicted(Work(source.hyperparameters, (shape,), 0, True, huggingface, True), frugal)

    if limit is None:
        return needed(length) - needed(asked.length) <= _FOR_A_LONG_WINDOW
    # a quarter is for the file's copy: a larger file is mapped
    return needed(length) <= limit - limit // 4 - _PROCESS


def batches_of(
    windows: Sequence[Window], numbers: list[int], hyper: Hyperparameters, times: int = 1
) -> Iterator[list[int]]:
    """Yield the numbers in batches: windows of one length, as many as fit, at least one. times: the usual room."""
    weights = sum(prod(shape) for shape in hyper.shapes().values())
    least, most = _BATCH_ELEMENTS
    room = times * min(max(least, weights // 8), most)
    batch: list[int] = []
    for number in numbers:
        length = len(windows[number].tokens)
        elements = length * max(hyper.vocab_size, hyper.widest_gate, hyper.n_heads * length)
        if batch and (length != len(windows[batch[0]].tokens) or (len(batch) + 1) * elements > room):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _reads(
    source: Source,
    model: reader_c.Model,
    made: Plan,
    windows: Sequence[Window],
    batches: list[list[int]],
    traced: list[list[int]],
) -> int:
    """Bytes of the source and, if it is mapped, of the file, if no weight is kept between two passes. A file that
    fails may cost more, for its diagnosis."""
    kinds, lossless = len(activations_of(model)), same_numbers(source, model)
    by_others = source.kind == "huggingface"
    weights = 1 + (not lossless)
    # the logits on each kind of weights, rounding noise, and each operation
    of_source = _CHECKED + weights * (1 if by_others and not made.streamed else len(batches)) + len(batches)
    recorded = kinds * len(ARITHMETICS)
    of_source += recorded * sum(ceil(len(numbers) / (made.walks or len(numbers))) for numbers in traced)
    of_source += 0 if lossless else _ATTRIBUTED
    of_source += sum(agrees(windows, batch) for batch in batches) if by_others else 0
    of_traced = sum(1 + passes_of(len(windows[number].tokens)) for numbers in traced for number in numbers)
    of_file = _CHECKED_OF_FILE + recorded * (sum(map(len, batches)) + of_traced)
    mapped = of_file * model.file_size if model.mapped else 0
    return of_source * _bytes_of_a_pass(source) + len(batches) * _bytes_of_classifier(source) + mapped


def _reads_of_storage(source: Source, model: reader_c.Model, windows: Sequence[Window]) -> int:
    """Bytes that the check `storage` reads, as in _reads()."""
    if same_numbers(source, model):
        return 0
    judged = judged_windows(source.hyperparameters, windows)
    of_file = len(judged) * model.file_size if model.mapped and model.config.group_size else 0
    return _reads_of_draws(source, judged) + of_file


def _reads_of_draws(source: Source, judged: Sequence[Window]) -> int:
    """Bytes of the source that the draws of these windows read, with the logits beside them."""
    batches = list(batches_of(judged, list(range(len(judged))), source.hyperparameters))
    return _OF_STORAGE * len(batches) * _bytes_of_a_pass(source)


def _reads_of_trial(source: Source, model: reader_c.Model, windows: Sequence[Window]) -> int:
    """Bytes that the trial of an engine with int8 activations reads, as in _reads()."""
    of_file = BATCHES * PROBES * model.file_size if model.mapped else 0
    return (len(windows) + BATCHES * PROBE_LENGTH) * _bytes_of_a_pass(source) + of_file


def _bytes_of_classifier(source: Source) -> int:
    """Bytes of the classifier, which margins of the most likely tokens read once more for each batch."""
    name = llama.classifier(source.hyperparameters)
    return prod(source.hyperparameters.shapes()[name]) * _WIDTHS[source.dtype(name)]


def _bytes_of_a_pass(source: Source) -> int:
    """Bytes of all tensors; a tied classifier reads the embedding twice."""
    shapes = source.hyperparameters.shapes()
    sizes = {name: prod(shape) * _WIDTHS[source.dtype(name)] for name, shape in shapes.items()}
    return sum(sizes.values()) + (sizes["tok_embeddings.weight"] if source.hyperparameters.tied else 0)
