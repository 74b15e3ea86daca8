"""Find what was written of a tokenizer: the block of a v3 file, and a file that the user names."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import reader_c
from verify.checks.tokenizer import TokenizerFindings, WrittenTokenizer, check_tokenizer, merged
from verify.diagnosis.result import Diagnosis
from verify.diagnosis.tokenizer import diagnose_tokenizer
from verify.errors import CannotJudgeError
from verify.run.check_findings import CheckFindings
from verify.run.options import Options, StrPath
from verify.sources import Source
from verify.system.reading import read_given
from verify.tokenizers.drawn_texts import TEXTS
from verify.tokenizers.encoders import BlockReader, PlainReader
from verify.tokenizers.plain_files import form_of, read_plain
from verify.tokenizers.trial import ENCODED

_MOST_TEXT = 1 << 30


def written_tokenizers(model: reader_c.Model, tokenizer_file: StrPath | None) -> list[WrittenTokenizer]:
    """Return the tokenizers that are to be judged, which may be none. Raises CannotJudgeError."""
    vocab_size, block = model.config.vocab_size, model.tokenizer_block
    written = []
    if block:
        written.append(WrittenTokenizer("v3", block, vocab_size, None, partial(BlockReader, block, vocab_size)))
    if tokenizer_file is not None:
        written.append(_of_file(Path(tokenizer_file), vocab_size))
    return written


def _of_file(path: Path, vocab_size: int) -> WrittenTokenizer:
    content = read_plain(path)
    form = form_of(path, content, vocab_size)
    encoder = partial(PlainReader, path, vocab_size) if form == "llama2c" else None
    return WrittenTokenizer(form, content, vocab_size, os.fspath(path), encoder)


def judge_tokenizers(written: list[WrittenTokenizer], source: Source, options: Options) -> CheckFindings:
    """Check each of them against the source's tokenizer, and diagnose the first that fails."""
    lines = own_lines(options)
    block = source.tokenizer_block
    place = tokenizer_place(source)
    found = [check_tokenizer(one, place, options.evidence.depth, lines, source_block=block) for one in written]
    return CheckFindings(
        checks=(merged(found),),
        tokenizers=tuple(one.report for one in found),
        diagnosis=next((diagnosis for one in found if (diagnosis := _diagnose(one))), None),
    )


def tokenizer_place(source: Source) -> Path:
    """Return where the source's tokenizer is: beside it, or in it."""
    return source.path if source.tokenizer_block else source.tokenizer_path


def _diagnose(found: TokenizerFindings) -> Diagnosis | None:
    if found.expected is None or found.found is None or not found.fields:
        return None
    return diagnose_tokenizer(found.expected, found.found, found.fields)


def own_lines(options: Options) -> list[str]:
    """Return the lines of the user's text, if there is one. Raises CannotJudgeError."""
    text = options.evidence.text
    if text is None:
        return []
    try:
        return read_given(Path(text), _MOST_TEXT).decode(errors="ignore").splitlines()
    except OSError as error:
        raise CannotJudgeError(f"{text}: expected a text, found: {(error.strerror or '').lower()}") from error


def predicted_work(written: list[WrittenTokenizer], depth: str) -> float:
    """Return the work of the check, in the unit of verify.system.pulse. There are about as many merges as tokens."""
    return sum(ENCODED * (one.vocab_size + TEXTS[depth]) for one in written)
