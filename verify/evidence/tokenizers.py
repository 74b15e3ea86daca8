"""Token ids of a text, and the text of token ids, by the source's own tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import CannotJudgeError
from verify.system.optional_imports import one_line, wanted
from verify.system.reading import read_given
from verify.system.stderr import silent

# A novel has less than a thousandth of this.
_MOST_TEXT = 1 << 30


def encode(text: Path, tokenizer: Path, vocab_size: int) -> NDArray[np.int64]:
    """Encode a UTF-8 file by a SentencePiece model or, if its name ends in .json, by Hugging Face's tokenizers.

    SentencePiece encodes line by line, each after the beginning-of-text token. Hugging Face's library encodes the
    whole text and adds its own special tokens. Raises CannotJudgeError, also for an id beyond the model's vocabulary.
    """
    try:
        content = read_given(text, _MOST_TEXT).decode("utf-8")
    except OSError as error:
        raise CannotJudgeError(f"{text}: expected a text, found: {(error.strerror or '').lower()}") from error
    except UnicodeDecodeError as error:
        raise CannotJudgeError(f"{text}: expected UTF-8 text, found byte {error.start} to be none") from error
    if not tokenizer.is_file():
        kind = "tokenizer.json" if _is_fast(tokenizer) else "SentencePiece tokenizer"
        raise CannotJudgeError(f"{tokenizer}: expected the source's {kind}, found no such file")
    if _is_fast(tokenizer):
        processor = _fast(tokenizer)
        with _untrusted(tokenizer, f"a tokenizer that encodes {text}, found none that does"):
            ids = processor.encode(content).ids if content.strip() else []
    else:
        processor = _sentencepiece(tokenizer)
        with _untrusted(tokenizer, f"a tokenizer that encodes {text}, found none that does"):
            lines = (line for line in content.splitlines() if line.strip())
            ids = [token for line in lines for token in processor.encode(line, add_bos=True)]
    if ids and max(ids) >= vocab_size:
        # a tokenizer may have more tokens than the model, as long as the text contains none of them
        raise CannotJudgeError(
            f"{tokenizer}: expected the model's {vocab_size} tokens alone in {text}, found token {max(ids)}"
        )
    return np.array(ids, dtype=np.int64)


def decode(tokenizer: Path, ids: Sequence[int]) -> str:
    """Decode token ids for a report; without a tokenizer the text is empty. Raises CannotJudgeError."""
    if not tokenizer.is_file():
        return ""
    processor = (_fast if _is_fast(tokenizer) else _sentencepiece)(tokenizer)
    with _untrusted(tokenizer, "a tokenizer that decodes its own tokens, found none that does"):
        return str(processor.decode([int(i) for i in ids]))


def _is_fast(tokenizer: Path) -> bool:
    return tokenizer.suffix == ".json"


def _sentencepiece(path: Path) -> Any:
    import sentencepiece  # noqa: PLC0415  # needed only for a text

    with _untrusted(path, "a SentencePiece model, found none that loads"):
        return sentencepiece.SentencePieceProcessor(model_file=str(path))


def _fast(path: Path) -> Any:
    tokenizers = wanted("tokenizers")
    with _untrusted(path, "a tokenizer.json, found none that loads"):
        tokenizer = tokenizers.Tokenizer.from_file(str(path))
        # a file may ask to truncate or pad texts, which concerns training only
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return tokenizer


@contextmanager
def _untrusted(path: Path, expected: str) -> Iterator[None]:
    """Turn whatever a library raises on an untrusted tokenizer into one line.

    A panic in Rust is not an Exception, and prints to standard error before it is raised.
    """
    try:
        with silent():
            yield
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:
        raise CannotJudgeError(f"{path}: expected {expected}: {one_line(error)}") from error
