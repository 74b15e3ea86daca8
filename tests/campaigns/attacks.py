"""The verdict under attack: files that differ from what the source makes of them, each of which must fail.

    make attacks                    a quarter of an hour of one core, shared out to all

Healthy files of every format are changed where their tensors stand (bits at random and chosen ones, numbers that swap
places, tensors that do) and in their heads; v3's digests are set right again, as somebody would who wants to be
believed. Every bit of the payload that means something counts; a change that changes nothing does not.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import torch
from blake3 import blake3
from helpers.checkpoints import save, state_dict
from helpers.v3_files import patched
from record import Row, finish, options
from rich.progress import track

import exporter
import reader_c
import verify
from verify.errors import CannotJudgeError
from verify.evidence import Evidence
from verify.sources import Source
from verify.sources.llama2c import Llama2cSource

FILES = {
    "v0": {"format": "v0"},
    "v1": {"format": "v1", "group_size": 8},
    "v1-fp32": {"format": "v1-fp32"},
    "v2": {"format": "v2", "group_size": 8},
    "v3 float32": {"format": "v3"},
    "v3 mixed": {"format": "v3", "group_size": 8, "storage": {"*": "q8_0", "*w1*": "bf16", "*wo*": "fp16"}},
}
Change = Callable[[bytearray, list[reader_c.Span], np.random.Generator], None]


def _span(spans: list[reader_c.Span], rng: np.random.Generator, part: str | None = None) -> reader_c.Span:
    fitting = [span for span in spans if part is None or span.part == part]
    return fitting[int(rng.integers(len(fitting)))]


def any_bit(content: bytearray, spans: list[reader_c.Span], rng: np.random.Generator) -> None:
    span = _span(spans, rng)
    content[span.offset + int(rng.integers(span.nbytes))] ^= 1 << int(rng.integers(8))


def _chosen_bit(of_byte: int, bit: int) -> Change:
    """of_byte: within a number, from its lowest."""

    def change(content: bytearray, spans: list[reader_c.Span], rng: np.random.Generator) -> None:
        span = _span(spans, rng)
        width = {"fp32": 4, "scale": 4, "fp16": 2, "bf16": 2, "int8": 1}[span.part]
        number = int(rng.integers(span.nbytes // width)) * width
        content[span.offset + number + min(of_byte, width - 1)] ^= 1 << bit

    return change


def two_numbers(content: bytearray, spans: list[reader_c.Span], rng: np.random.Generator) -> None:
    span = _span(spans, rng)
    width = {"fp32": 4, "scale": 4, "fp16": 2, "bf16": 2, "int8": 1}[span.part]
    a, b = (span.offset + width * int(i) for i in rng.integers(span.nbytes // width, size=2))
    content[a : a + width], content[b : b + width] = content[b : b + width], content[a : a + width]


def two_rows(content: bytearray, spans: list[reader_c.Span], rng: np.random.Generator) -> None:
    span = _span([span for span in spans if len(span.shape) == 2], rng)
    size = span.nbytes // span.shape[0]
    a, b = (span.offset + size * int(i) for i in rng.integers(span.shape[0], size=2))
    content[a : a + size], content[b : b + size] = content[b : b + size], content[a : a + size]


def two_tensors(content: bytearray, spans: list[reader_c.Span], rng: np.random.Generator) -> None:
    one = _span(spans, rng)
    other = _span([span for span in spans if (span.shape, span.part) == (one.shape, one.part)], rng)
    a, b = slice(one.offset, one.offset + one.nbytes), slice(other.offset, other.offset + other.nbytes)
    content[a], content[b] = content[b], content[a]


def a_scale(content: bytearray, spans: list[reader_c.Span], rng: np.random.Generator) -> None:
    """One step of float32 more, which is the least that a scale can be off."""
    if not any(span.part == "scale" for span in spans):
        any_bit(content, spans, rng)
        return
    span = _span(spans, rng, "scale")
    numbers = np.frombuffer(content, "<u4", span.nbytes // 4, span.offset)
    numbers[int(rng.integers(len(numbers)))] += 1


PAYLOAD: dict[str, Change] = {
    "any bit": any_bit,
    "lowest bit": _chosen_bit(0, 0),
    "sign": _chosen_bit(3, 7),
    "exponent": _chosen_bit(3, 0),
    "two numbers change places": two_numbers,
    "two rows change places": two_rows,
    "two tensors change places": two_tensors,
    "a scale one step off": a_scale,
}


def of_heads(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Every single bit of a head that is not a digest."""
    head = 28 if name == "v0" else 256
    for at in range(head):
        for bit in range(8):
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            yield f"bit {bit} of byte {at}", bytes(changed)
    if name.startswith("v3"):
        for at in (*range(160), *range(192, 256)):
            for bit in range(8):
                yield f"signed, bit {bit} of byte {at}", patched(content, (at, bytes([content[at] ^ 1 << bit])))


def sign_tensors(content: bytearray, digests: dict[int, tuple[int, int]]) -> bytes:
    """digests: where each stands -> the extent that it covers."""
    for at, (start, stop) in digests.items():
        content[at : at + 32] = blake3(bytes(content[start:stop])).digest()
    return patched(bytes(content), (0, bytes(content[:4])))


@dataclass
class Tried:
    count: int = 0
    same: int = 0
    passed: tuple[str, ...] = ()


def caught(source: Source, path: Path) -> bool:
    """Whether verify says no, or refuses."""
    try:
        report = verify.verify(source, path, evidence=Evidence(depth="quick", windows=1, length=8))
    except (reader_c.ReaderError, CannotJudgeError):
        return True
    return report.verdict == "fail"


def attack(name: str, what: str, count: int, seed: int) -> tuple[str, str, Tried]:
    torch.set_num_threads(1)
    tried = Tried()
    with tempfile.TemporaryDirectory() as directory:
        room = Path(directory)
        checkpoint, path = save(room, state_dict()), room / "model.bin"
        exporter.export(exporter.open_checkpoint(checkpoint), path, **FILES[name])
        source = Llama2cSource(checkpoint)
        healthy = path.read_bytes()
        assert not caught(source, path)
        with reader_c.open(path) as model:
            # v0's RoPE tables are held to a bound, since float32 has many right ones
            names = [tensor for tensor in model.names if not tensor.startswith("freqs_")]
            spans = [span for tensor in names for span in model.spans(tensor)]
            tensors = [model._raw_tensor(tensor)[0] for tensor in model.names]
            digests = {t.digest_at: (t.offset, t.offset + t.extent) for t in tensors if t.digest_at}
        if what == "heads":
            changes: Iterator[tuple[str, bytes]] = of_heads(name, healthy)
        else:
            changes = payloads(what, count, np.random.default_rng(seed), healthy, spans, digests)
        for told, content in changes:
            if content == healthy:
                tried.same += 1
                continue
            tried.count += 1
            path.write_bytes(content)
            if not caught(source, path):
                tried.passed += (f"{name}, {what}: {told}",)
    return name, what, tried


def payloads(
    what: str,
    count: int,
    rng: np.random.Generator,
    healthy: bytes,
    spans: list[reader_c.Span],
    digests: dict[int, tuple[int, int]],
) -> Iterator[tuple[str, bytes]]:
    for number in range(count):
        content = bytearray(healthy)
        PAYLOAD[what](content, spans, rng)
        yield f"number {number}", sign_tensors(content, digests) if digests else bytes(content)


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--count", type=int, default=50, help="of each change to each file's payload")
    given = parser.parse_args()
    began = time.monotonic()
    work = [(name, what) for name in FILES for what in (*PAYLOAD, "heads")]
    found: list[tuple[str, str, Tried]] = []
    with ProcessPoolExecutor(os.cpu_count(), get_context("spawn")) as pool:
        pending = [pool.submit(attack, name, what, given.count, seed) for seed, (name, what) in enumerate(work)]
        found = [future.result() for future in track(pending, description="attacks")]
    rows = []
    for what in (*PAYLOAD, "heads"):
        mine = [tried for _, own, tried in found if own == what]
        passed = [told for tried in mine for told in tried.passed]
        count = sum(tried.count for tried in mine)
        rows.append(Row(f"{what}: files of {len(FILES)} kinds", count, f"{count - len(passed)} caught", len(passed)))
        print("\n".join(passed[:20]), end="\n" * bool(passed))
    finish("attacks on the verdict", rows, began, trial=given.trial)


if __name__ == "__main__":
    main()
