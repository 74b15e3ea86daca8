"""What a verdict will take, told before it begins: memory, and bytes to read, since every walk over the weights reads
them again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, prod

import torch

import reader_c
from verify.evidence import Evidence, Window
from verify.evidence.depth import traced_positions, traced_windows
from verify.run.memory import Plan, Taken, Work, batch_of, plan
from verify.run.reference_logits import same_numbers
from verify.run.traced_windows import activations_of
from verify.sources import Hyperparameters, Source

# Elements of the largest float64 array that a batch of windows makes (logits or attention shares). The smaller is
# small enough for the allocator to hand the same memory out again; a model whose weights are far more than that
# takes up to the larger, because every batch reads all of them once a pass.
_BATCH_ELEMENTS = (1 << 21, 1 << 24)

_WIDTHS = {"fp32": 4, "fp16": 2, "bf16": 2}
# Walks over the source and over the file by the check `tensors`; and over the source, whether it is finite, over the
# file, its digest.
_CHECKED = 2
# Over the source, to share out what storage costs.
_ATTRIBUTED = 2


@dataclass(frozen=True)
class Budget:
    """reads: bytes, of which the system's cache spares those that it still has."""

    plan: Plan
    reads: int

    def describe(self) -> str:
        return f"{self.plan.describe()}; at most {self.reads / 1e9:,.1f} GB read, less what the system has kept"

    def held_against(self, taken: Taken) -> dict[str, int | None]:
        """For the report, in bytes."""
        memory = {"limit": self.plan.limit, "predicted": self.plan.peak, "peak": taken.peak}
        return {**memory, "reads_predicted": self.reads, "reads": taken.read}


def budget_of(
    model: reader_c.Model,
    source: Source,
    windows: list[Window],
    evidence: Evidence,
    limit: int | None,
    *,
    whole: bool,
) -> Budget:
    """limit: bytes of memory, if any. whole: every position of the windows that are looked into counts. Raises
    CannotJudgeError where no way of judging takes as little."""
    hyper = source.hyperparameters
    batches = list(batches_of(windows, list(range(len(windows))), hyper))
    proofs = list(batches_of(windows, traced_windows(windows, evidence.depth), hyper, times=2))
    (batch, length), (chosen, of_chosen) = batch_of(windows, batches), batch_of(windows, proofs)
    work = Work(
        model=hyper,
        length=max(length, of_chosen),
        batch=batch,
        chosen=chosen,
        positions=traced_positions(evidence.depth, of_chosen, whole=whole),
        held=0 if model.mapped else model.file_size,
        q8=bool(model.config.group_size),
        huggingface=source.kind == "huggingface",
        attributed=any(model.storage(name).storage != "fp32" for name in model.names),
    )
    made = plan(work, torch.get_num_threads(), limit)
    return Budget(made, _reads(source, model, made, batches, proofs))


def batches_of(
    windows: Sequence[Window], numbers: list[int], hyper: Hyperparameters, times: int = 1
) -> Iterator[list[int]]:
    """Of these numbers, those of windows of one length, as many as fit; at least one. times: of the usual room."""
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
    source: Source, model: reader_c.Model, made: Plan, batches: list[list[int]], proofs: list[list[int]]
) -> int:
    """Bytes of the source and, where it is mapped, of the file, if no weight is kept between two walks. A file that
    fails may cost more, for its diagnosis."""
    kinds, lossless = len(activations_of(model)), same_numbers(source, model)
    by_others = source.kind == "huggingface"
    of_source = _CHECKED + (1 if by_others and not made.streamed else len(batches))
    # noise, the plain Llama on the file's weights and on the source's, and each operation
    of_source += len(proofs) * (1 + (not lossless) + by_others)
    of_source += kinds * sum(ceil(len(numbers) / (made.walks or len(numbers))) for numbers in proofs)
    of_source += 0 if lossless else _ATTRIBUTED
    of_file = _CHECKED + kinds * sum(map(len, batches + proofs))
    return of_source * _of_a_walk(source) + (of_file * model.file_size if model.mapped else 0)


def _of_a_walk(source: Source) -> int:
    """Bytes of all tensors; a tied classifier is the embedding once more."""
    shapes = source.hyperparameters.shapes()
    sizes = {name: prod(shape) * _WIDTHS[source.dtype(name)] for name, shape in shapes.items()}
    return sum(sizes.values()) + (sizes["tok_embeddings.weight"] if source.hyperparameters.tied else 0)
