"""The cost of a verdict, predicted before it begins: memory, and bytes to read.

Every pass over the weights reads them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, prod

import torch

import reader_c
from verify.checks.storage import judged_windows
from verify.evidence import Window
from verify.evidence.depth import traced_positions, traced_windows
from verify.run.memory import Plan, Taken, Work, batch_of, plan
from verify.run.reference_logits import same_numbers
from verify.run.traced_windows import activations_of
from verify.sources import Hyperparameters, Source

# Elements of the largest float64 array that a batch of windows makes (logits or attention shares). The allocator
# reuses memory up to the smaller size. A model with far larger weights takes up to the larger size, because every
# batch reads all weights once a pass.
_BATCH_ELEMENTS = (1 << 21, 1 << 24)

_WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2}
# Passes by the checks on bytes: `tensors` reads source and file; the source is read again to see that it is finite,
# the file for its digest.
_CHECKED = 2
# Passes over a directory: two digests, the source's reader, `tensors`, and transformers.
_CHECKED_OF_DIRECTORY = 5
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
    whole: bool,
) -> Cost:
    """Predict the cost of a verdict, and plan how to stay within the limit.

    limit: bytes of memory, if any. whole: every position of the traced windows counts.
    Raises CannotJudgeError if no plan stays within the limit.
    """
    hyper = source.hyperparameters
    batches = list(batches_of(windows, list(range(len(windows))), hyper))
    traced = list(batches_of(windows, traced_windows(windows, depth), hyper, times=2))
    (batch, length), (windows_traced, length_traced) = batch_of(windows, batches), batch_of(windows, traced)
    work = Work(
        hyper=hyper,
        length=max(length, length_traced),
        batch=batch,
        traced=windows_traced,
        positions=traced_positions(depth, length_traced, whole=whole),
        held=0 if model.mapped else model.file_size,
        q8=bool(model.config.group_size),
        huggingface=source.kind == "huggingface",
        attributed=any(model.storage(name).storage != "fp32" for name in model.names),
    )
    made = plan(work, torch.get_num_threads(), limit)
    reads = _reads(source, model, made, batches, traced) + _reads_of_storage(source, model, windows)
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
    (batch, length), (windows_traced, length_traced) = batch_of(windows, batches), batch_of(windows, traced)
    work = Work(
        hyper=hyper,
        length=max(length, length_traced),
        batch=batch,
        traced=windows_traced,
        positions=traced_positions(depth, length_traced),
        held=0,
        q8=False,
        huggingface=by_others,
        attributed=False,
        directory=True,
    )
    made = plan(work, torch.get_num_threads(), limit)
    of_source = _CHECKED + (1 if by_others and not made.streamed else len(batches))
    of_source += len(traced) * (1 + (not lossless) + by_others)
    return Cost(made, of_source * _bytes_of_a_pass(source) + _CHECKED_OF_DIRECTORY * size)


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
        elements = length * max(hyper.vocab_size, hyper.hidden_dim, hyper.n_heads * length)
        if batch and (length != len(windows[batch[0]].tokens) or (len(batch) + 1) * elements > room):
            yield batch
            batch = []
        batch.append(number)
    if batch:
        yield batch


def _reads(
    source: Source, model: reader_c.Model, made: Plan, batches: list[list[int]], traced: list[list[int]]
) -> int:
    """Bytes of the source and, if it is mapped, of the file, if no weight is kept between two passes. A file that
    fails may cost more, for its diagnosis."""
    kinds, lossless = len(activations_of(model)), same_numbers(source, model)
    by_others = source.kind == "huggingface"
    of_source = _CHECKED + (1 if by_others and not made.streamed else len(batches))
    # rounding noise, the plain Llama on the file's and on the source's weights, and each operation
    of_source += len(traced) * (1 + (not lossless) + by_others)
    of_source += kinds * sum(ceil(len(numbers) / (made.walks or len(numbers))) for numbers in traced)
    of_source += 0 if lossless else _ATTRIBUTED
    of_file = _CHECKED + kinds * sum(map(len, batches + traced))
    return of_source * _bytes_of_a_pass(source) + (of_file * model.file_size if model.mapped else 0)


def _reads_of_storage(source: Source, model: reader_c.Model, windows: Sequence[Window]) -> int:
    """Bytes that the check `storage` reads, as in _reads()."""
    if same_numbers(source, model):
        return 0
    judged = judged_windows(source.hyperparameters, windows)
    batches = list(batches_of(judged, list(range(len(judged))), source.hyperparameters))
    of_file = len(judged) * model.file_size if model.mapped and model.config.group_size else 0
    return _OF_STORAGE * len(batches) * _bytes_of_a_pass(source) + of_file


def _bytes_of_a_pass(source: Source) -> int:
    """Bytes of all tensors; a tied classifier reads the embedding twice."""
    shapes = source.hyperparameters.shapes()
    sizes = {name: prod(shape) * _WIDTHS[source.dtype(name)] for name, shape in shapes.items()}
    return sum(sizes.values()) + (sizes["tok_embeddings.weight"] if source.hyperparameters.tied else 0)
