"""Read what an engine gave for a prompt: a text, token ids or logits; and see where two engines part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import CannotJudgeError
from verify.evidence.tokenizer_files import open_tokenizer
from verify.evidence.untrusted import untrusted
from verify.system.reading import check_given, read_given

_MOST_TEXT = 1 << 24
_NPY = b"\x93NUMPY"


@dataclass(frozen=True)
class Prompt:
    """Holds what engines were fed: token ids, and the text if that was given."""

    ids: tuple[int, ...]
    text: str | None


@dataclass(frozen=True)
class Output:
    """Holds what an engine chose.

    name: of the file. fed: int64 (length,), the token at each position. chosen: int64 (length,), the token that the
    engine chose after each. first: the first position where it chose. logits: float32 (length, vocab_size), if they
    are known. from_text: the ids are those of a text, which another engine may split otherwise.
    """

    name: str
    fed: NDArray[np.int64]
    chosen: NDArray[np.int64]
    first: int
    logits: NDArray[np.float32] | None = None
    from_text: bool = False

    @staticmethod
    def of_tokens(name: str, tokens: Sequence[int], first: int, *, from_text: bool = False) -> Output:
        """Take token ids, each of which is the choice at the position before it."""
        ids = np.array(tokens, np.int64)
        return Output(name, ids[:-1], ids[1:], first, from_text=from_text)

    @property
    def sequence(self) -> list[int]:
        """Return what the engine chose, position by position."""
        return [int(token) for token in self.chosen[self.first :]]


def read_prompt(text: str | None, ids: Path | None, tokenizer: Path, vocab_size: int) -> Prompt:
    """Read the prompt. ids: a .npy file of its token ids, instead of a text. Raises CannotJudgeError."""
    if ids is not None:
        array = _array(ids)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise CannotJudgeError(f"{ids}: expected token ids, integers [length], found {_kind(array)}")
        return Prompt(tuple(_checked(ids, array.tolist(), vocab_size)), None)
    if not text:
        raise CannotJudgeError("--prompt: expected a text, or --ids FILE with its token ids, found none")
    return Prompt(tuple(_checked(tokenizer, _encode(text, tokenizer), vocab_size)), text)


def read_output(path: Path, prompt: Prompt, tokenizer: Path, vocab_size: int) -> Output:
    """Read what an engine gave: logits or token ids as .npy, or a text. Raises CannotJudgeError."""
    if _is_npy(path):
        array = _array(path)
        if array.dtype == np.float32:
            return _of_logits(path, array, prompt, vocab_size)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise CannotJudgeError(f"{path}: expected integers [length] or float32 logits, found {_kind(array)}")
        return _continued(path, _checked(path, array.tolist(), vocab_size), prompt, from_text=False)
    text = _text(path).removesuffix("\n")
    if prompt.text is None:
        raise CannotJudgeError(f"{path}: expected token ids or logits beside --ids, found a text: give --prompt TEXT")
    if not text.startswith(prompt.text):
        raise CannotJudgeError(f"{path}: expected a text that begins with the prompt {prompt.text!r:.80}")
    ids = _checked(tokenizer, _encode(text, tokenizer), vocab_size)
    return _continued(path, ids, prompt, from_text=True)


def expect_shown(output: Output, position: int, expected: int, tokenizer: Path) -> None:
    """Raise CannotJudgeError if a text fits the expected token, too, and so does not show what the engine chose."""
    if not output.from_text:
        return
    opened = open_tokenizer(tokenizer)
    ids = [*output.fed.tolist(), int(output.chosen[-1])]
    with untrusted(tokenizer, "a tokenizer that decodes its own tokens, found none that does"):
        whole, fits = opened.decode(ids), opened.decode([*ids[: position + 1], expected])
    if whole.startswith(fits):
        raise CannotJudgeError(
            f"{output.name}: position {position}: expected a text that shows the chosen token, found one that fits "
            f"{expected} and {output.chosen[position]}: give the engine's token ids as .npy"
        )


def parting(one: Output, other: Output) -> int | None:
    """Return the first position where two engines chose different tokens; None if there is none."""
    first = max(one.first, other.first)
    pairs = zip(one.chosen[first:], other.chosen[first:], strict=False)
    return next((first + place for place, (a, b) in enumerate(pairs) if a != b), None)


def _of_logits(path: Path, logits: NDArray[Any], prompt: Prompt, vocab_size: int) -> Output:
    expected = (len(prompt.ids), vocab_size)
    if logits.shape != expected:
        raise CannotJudgeError(
            f"{path}: expected logits of shape {expected}, a row for each token of the prompt, found {logits.shape}"
        )
    return Output(str(path), np.array(prompt.ids, np.int64), logits.argmax(axis=1), 0, logits)


def _continued(path: Path, ids: list[int], prompt: Prompt, *, from_text: bool) -> Output:
    """Take ids that begin with the prompt's; the end of a text's prompt may be split otherwise."""
    shared = next(
        (place for place, (a, b) in enumerate(zip(ids, prompt.ids, strict=False)) if a != b),
        min(len(ids), len(prompt.ids)),
    )
    if shared < len(prompt.ids) and not from_text:
        raise CannotJudgeError(f"{path}: expected ids that begin with the prompt's, found another at {shared}")
    if not 0 < shared < len(ids):
        raise CannotJudgeError(f"{path}: expected more than the prompt's {len(prompt.ids)} tokens, found {len(ids)}")
    return Output.of_tokens(str(path), ids, shared - 1, from_text=from_text)


def _encode(text: str, tokenizer: Path) -> list[int]:
    opened = open_tokenizer(tokenizer)
    with untrusted(tokenizer, "a tokenizer that encodes the text, found none that does"):
        return opened.encode(text)


def _checked(path: Path, ids: list[int], vocab_size: int) -> list[int]:
    wrong = next((token for token in ids if not 0 <= token < vocab_size), None)
    if wrong is not None or not ids:
        found = "none" if wrong is None else wrong
        raise CannotJudgeError(f"{path}: token: expected ids from 0 to {vocab_size - 1}, found {found}")
    return ids


def _is_npy(path: Path) -> bool:
    try:
        check_given(path)
        with path.open("rb") as file:
            return file.read(len(_NPY)) == _NPY
    except OSError as error:
        raise CannotJudgeError(f"{path}: {(error.strerror or str(error)).lower()}") from error


def _text(path: Path) -> str:
    try:
        return read_given(path, _MOST_TEXT).decode()
    except OSError as error:
        raise CannotJudgeError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except UnicodeDecodeError as error:
        raise CannotJudgeError(
            f"{path}: expected UTF-8 text or a .npy file, found byte {error.start} to be neither"
        ) from error


def _array(path: Path) -> NDArray[Any]:
    try:
        loaded: NDArray[Any] = np.load(path, allow_pickle=False)
    except OSError as error:
        raise CannotJudgeError(f"{path}: {(error.strerror or str(error)).lower()}") from error
    except Exception as error:  # numpy evaluates the header, and lets any error through
        raise CannotJudgeError(f"{path}: expected a .npy file of numbers, found another kind of file") from error
    return loaded


def _kind(array: NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"
