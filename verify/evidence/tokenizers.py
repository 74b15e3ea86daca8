"""Token ids of a text, and the text of token ids, by the source's own tokenizer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verify.errors import CannotJudgeError
from verify.evidence.tokenizer_files import open_tokenizer
from verify.evidence.untrusted import untrusted
from verify.system.reading import read_given

# A novel has less than a thousandth of this.
_MOST_TEXT = 1 << 30
# Editors put it before a text to say how the text is encoded; the text that a model learned from has none.
_BYTE_ORDER_MARK = "\ufeff"


def encode(text: Path, tokenizer: Path, vocab_size: int) -> NDArray[np.int64]:
    """Encode a UTF-8 file, without the byte order mark that it may begin with, by any tokenizer of open_tokenizer().

    SentencePiece encodes line by line, each after the beginning-of-text token. The others encode the whole text after
    the special tokens that they put before a text. Raises CannotJudgeError, also for an id beyond the model's
    vocabulary.
    """
    content = _read(text)
    opened = open_tokenizer(tokenizer)
    with untrusted(tokenizer, f"a tokenizer that encodes {text}, found none that does"):
        ids = opened.encode(content)
    if ids and max(ids) >= vocab_size:
        # a tokenizer may have more tokens than the model, as long as the text contains none of them
        raise CannotJudgeError(
            f"{tokenizer}: token: expected ids below the model's vocab_size of {vocab_size}, found {max(ids)} in "
            f"{text}: tokenizer and model do not belong together: give the model's own with --tokenizer FILE"
        )
    return np.array(ids, dtype=np.int64)


def decode(tokenizer: Path, ids: Sequence[int]) -> str:
    """Decode token ids for a report; without a tokenizer the text is empty. Raises CannotJudgeError."""
    if not tokenizer.is_file():
        return ""
    opened = open_tokenizer(tokenizer)
    with untrusted(tokenizer, "a tokenizer that decodes its own tokens, found none that does"):
        return opened.decode([int(i) for i in ids])


def _read(text: Path) -> str:
    try:
        return read_given(text, _MOST_TEXT).decode("utf-8").removeprefix(_BYTE_ORDER_MARK)
    except OSError as error:
        raise CannotJudgeError(f"{text}: expected a text, found: {(error.strerror or '').lower()}") from error
    except UnicodeDecodeError as error:
        raise CannotJudgeError(
            f"{text}: expected UTF-8 text, found byte {error.start} to be none: convert it with iconv"
        ) from error
