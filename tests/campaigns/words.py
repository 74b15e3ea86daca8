"""The reader's tokenizer and generated text against llama2.c's own programs: ids and bytes.

    python tests/campaigns/words.py RUN_C [RUNQ_C]      paths of llama2.c's run.c and runq.c, from a clone of it

100,000 drawn texts for each vocabulary, through the functions build_tokenizer and encode of run.c. Texts of 100 seeds
from the bundled model, through the programs: run.c on a v0 file, runq.c on a v2 file. And how fast each encodes.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import sentencepiece
from helpers.tokenizer_bins import Entry, from_sentencepiece, save, trained
from record import Row, finish, options
from rich.progress import track

import exporter
import reader_c
import verify.demo
from verify.demo import CHECKPOINT, HELD_OUT_TEXT

DEMO = Path(verify.demo.__file__).with_name("tokenizer.model")
# the source says which standard functions it needs; its warnings are its own
FLAGS = ("-O3", "-w")
PROMPTS = ("", "In the beginning", "caf\u00e9 \U0001f600 <s> ", "and the LORD said unto ")
# code points of scripts that people write, and of what is hard: controls, marks, joiners, private use, emoji
RANGES = [(1, 128), (0x80, 0x250), (0x300, 0x600), (0x900, 0xE00), (0x2000, 0x2100), (0x3040, 0x9FFF)]
RANGES += [(0xAC00, 0xD7A0), (0xE000, 0xE010), (0xFE00, 0xFE10), (0x1F300, 0x1FAFF)]

Encode = Callable[[bytes, bool, bool], list[int]]


def compiled(source: Path, place: Path, *flags: str) -> Path:
    out = place / f"{source.stem}{'.so' if flags else ''}"
    subprocess.run(["gcc", *FLAGS, *flags, source, "-o", out, "-lm"], check=True)
    return out


def encoder(library: Path, tokenizer: Path, vocab_size: int) -> Encode:
    run_c = ctypes.CDLL(str(library))
    # its struct Tokenizer has less than this
    state = ctypes.create_string_buffer(1 << 12)
    run_c.build_tokenizer(state, str(tokenizer).encode(), vocab_size)

    def encode(text: bytes, bos: bool, eos: bool) -> list[int]:
        tokens, count = np.empty(len(text) + 3, np.int32), ctypes.c_int()
        place = tokens.ctypes.data_as(ctypes.c_void_p)
        run_c.encode(state, text, ctypes.c_int8(bos), ctypes.c_int8(eos), place, ctypes.byref(count))
        return tokens[: count.value].tolist()

    return encode


def drawn_text(rng: np.random.Generator, entries: list[Entry], held_out: bytes) -> bytes:
    """A text of one kind of six, without zero bytes."""
    size, kind = int(rng.integers(0, 64)), int(rng.integers(6))
    if kind == 0:
        return bytes(rng.integers(1, 256, size, dtype=np.uint8))
    if kind == 1:
        at = int(rng.integers(len(held_out) - size))
        return held_out[at : at + size]
    if kind == 2:
        return b"".join(entries[int(token)][0] for token in rng.integers(0, len(entries), size // 3))
    if kind == 3:
        low, high = RANGES[int(rng.integers(len(RANGES)))]
        return "".join(map(chr, rng.integers(low, high, size).tolist())).encode()
    if kind == 4:
        return bytes(rng.choice(np.frombuffer(b"  \t\n0123456789aeht.,'<>x", np.uint8), size))
    ranges = rng.integers(0, len(RANGES), size)
    return "".join(chr(int(rng.integers(*RANGES[at]))) for at in ranges).encode()


def compare_texts(name: str, entries: list[Entry], library: Path, place: Path, texts: int) -> Row:
    path = save(place / f"{name}.bin", entries)
    ours, theirs = reader_c.Tokenizer(path, len(entries)), encoder(library, path, len(entries))
    rng, held_out, wrong, tokens = np.random.default_rng(len(entries)), HELD_OUT_TEXT.read_bytes(), 0, 0
    for _ in track(range(texts), name):
        text, bos, eos = drawn_text(rng, entries, held_out), bool(rng.integers(2)), bool(rng.integers(2))
        expected = theirs(text, bos, eos)
        tokens += len(expected)
        wrong += ours.encode(text, bos=bos, eos=eos) != expected
    what = f"texts drawn for the vocabulary {name} ({len(entries):,} tokens), encoded as run.c does"
    return Row(what, texts, f"{wrong} differ; {tokens:,} token ids", wrong)


def compare_generated(program: Path, place: Path, format_name: str, activations: reader_c.Activations) -> Row:
    tokenizer_path, file, wrong, size = place / "demo.bin", place / f"{format_name}.model", 0, 0
    exporter.export(exporter.open_checkpoint(CHECKPOINT), file, format=format_name, overwrite=True)
    with reader_c.open(file) as model:
        tokenizer = reader_c.Tokenizer(tokenizer_path, model.config.vocab_size)
        for seed in track(range(1, 101), format_name):
            temperature, top_p = (0.0, 0.7, 1.0, 1.3)[seed % 4], (0.9, 1.0, 0.5, 0.0, 0.99)[seed % 5]
            prompt, steps = PROMPTS[seed // 3 % 4], seed * 37 % 257
            given = {"-z": tokenizer_path, "-t": temperature, "-p": top_p, "-s": seed, "-n": steps, "-i": prompt}
            words = [str(word) for pair in given.items() for word in pair]
            printed = subprocess.run([program, file, *words], capture_output=True, check=True).stdout
            pieces = reader_c.generate(
                model,
                tokenizer,
                prompt,
                steps=steps,
                temperature=temperature,
                top_p=top_p,
                seed=seed,
                arithmetic="mirror",
                activations=activations,
            )
            wrong += b"".join(pieces) + b"\n" != printed
            size += len(printed)
    what = f"seeds of text by {program.name}.c from the bundled model as {format_name}, activations {activations}"
    return Row(what, 100, f"{wrong} differ; {size:,} bytes", wrong)


def speeds(library: Path, place: Path) -> Row:
    """Megabytes a second, each of which is encoded as a whole; run.c gets a small part of the text."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(DEMO))
    vocab_size, text = processor.vocab_size(), HELD_OUT_TEXT.read_bytes() * 8
    ours, theirs = (
        reader_c.Tokenizer(place / "demo.bin", vocab_size),
        encoder(library, place / "demo.bin", vocab_size),
    )
    decoded = text.decode()
    rates = {
        "the reader": _rate(lambda: ours.encode(text), len(text)),
        "sentencepiece": _rate(lambda: processor.encode(decoded), len(text)),
        "run.c, 8 KB": _rate(lambda: theirs(text[:8192], False, False), 8192),
    }
    same = ours.encode(text) == processor.encode(decoded)
    told = ", ".join(f"{name} {rate:.3g} MB/s" for name, rate in rates.items())
    return Row("bytes of text encoded at once, speed", len(text), f"{told}; sentencepiece's ids", int(not same))


def _rate(call: Callable[[], object], size: int) -> float:
    best = float("inf")
    for _ in range(3):
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return size / best / 1e6


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("run_c", type=Path)
    parser.add_argument("runq_c", type=Path, nargs="?")
    parser.add_argument("--texts", type=int, default=100_000, help="for each vocabulary")
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        library = compiled(given.run_c, place, "-shared", "-fPIC", "-Dmain=upstream_main")
        demo = sentencepiece.SentencePieceProcessor(model_file=str(DEMO))
        vocabularies = {"demo": demo, "stories-512": trained(512), "stories-1024": trained(1024)}
        rows = [
            compare_texts(name, from_sentencepiece(processor), library, place, given.texts)
            for name, processor in vocabularies.items()
        ]
        rows.append(compare_generated(compiled(given.run_c, place), place, "v0", "fp32"))
        if given.runq_c:
            rows.append(compare_generated(compiled(given.runq_c, place), place, "v2", "q8"))
        rows.append(speeds(library, place))
    finish("words", rows, began, trial=given.trial)


if __name__ == "__main__":
    main()
