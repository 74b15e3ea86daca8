"""Collects the token windows on which a file is judged: from a text, from token ids, and random ones."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from verify.errors import CannotJudgeError
from verify.evidence.depth import depth_of, longest_window
from verify.evidence.generated import fixed_windows, random_lengths, random_windows
from verify.evidence.seed import Seed
from verify.evidence.tokenizers import encode
from verify.evidence.window import Window
from verify.system.reading import check_regular

if TYPE_CHECKING:
    from verify.sources import Source

_MOST_WINDOWS = 1_000_000


@dataclass(frozen=True)
class Evidence:
    """Describes the token windows to judge on.

    Attributes:
        depth: quick, standard or full.
        windows, length: how many random windows, and of how many tokens; by default as the depth says.
        seed: of the random windows; by default it follows from the judged file.
        text: a file of UTF-8 text, which adds windows.
        tokenizer: for text; by default the one beside the source.
        tokens: token ids, which add windows: an .npy file [windows, length], or arrays.
        prompts: texts from which a report says how long greedy text is certain; they add no windows.
        steps: how many tokens of greedy text, for each prompt.
    """

    depth: str = "standard"
    windows: int | None = None
    length: int | None = None
    seed: int | None = None
    text: Path | None = None
    tokenizer: Path | None = None
    tokens: Path | Sequence[NDArray[np.int64]] | None = None
    prompts: tuple[str, ...] = ()
    steps: int = 64

    def __post_init__(self) -> None:
        # paths may be given as text
        for name in ("text", "tokenizer", "tokens"):
            value = getattr(self, name)
            if isinstance(value, (str, os.PathLike)):
                object.__setattr__(self, name, Path(value))

    @property
    def files(self) -> list[Path]:
        """Return the files that it is read from, except the source's own tokenizer."""
        return [path for path in (self.text, self.tokenizer, self.tokens) if isinstance(path, Path)]

    def collect(
        self,
        source: Source,
        max_seq_len: int,
        seed: Seed,
        affordable: Callable[[int], bool] = lambda _length: True,
    ) -> list[Window]:
        """Collect windows of at least two tokens, none longer than max_seq_len.

        Args:
            source: the open source.
            max_seq_len: the most tokens in a window.
            seed: of the random windows.
            affordable: whether a window of that length, longer than the depth's, has the memory.

        Returns:
            The windows of text, of tokens, the random ones and the fixed ones.

        Raises:
            CannotJudgeError: the text or the tokens cannot be used, or a number is out of range.
        """
        if self.tokenizer is not None and self.text is None and not self.prompts:
            raise CannotJudgeError("tokenizer: expected a text to encode, found none: give --text FILE")
        depth, hyper = depth_of(self.depth), source.hyperparameters
        count, length = self._sizes(max_seq_len)
        # what the user asks for is neither more nor longer
        by_depth = self.windows is None and self.length is None
        long = longest_window(self.depth, hyper.n_heads, max_seq_len, affordable) if by_depth else None
        texts = self._from_text(source, count, length, long)
        windows = [Window(tokens, "text") for tokens in texts]
        windows += [Window(tokens, "tokens") for tokens in self._from_tokens(source, max_seq_len)]
        if any(len(tokens) == long for tokens in texts):
            count, long = count - 1, None
        lengths = random_lengths(count, length, long, hyper.vocab_size, every_id=depth.every_id and by_depth)
        windows += random_windows(hyper.vocab_size, lengths, seed.number)
        return windows + fixed_windows(hyper.vocab_size, length)

    def _sizes(self, max_seq_len: int) -> tuple[int, int]:
        """Return how many windows, and of how many tokens. Raises CannotJudgeError."""
        depth = depth_of(self.depth)
        count = self.windows if self.windows is not None else depth.windows
        length = self.length if self.length is not None else min(depth.length, max_seq_len)
        if not 1 <= count <= _MOST_WINDOWS:
            raise CannotJudgeError(f"windows: expected 1 to {_MOST_WINDOWS}, found {count}")
        if max_seq_len < 2:
            raise CannotJudgeError(
                f"max_seq_len: expected at least 2, to have a next token to judge, found {max_seq_len}"
            )
        if not 2 <= length <= max_seq_len:
            raise CannotJudgeError(f"length: expected 2 to the model's max_seq_len of {max_seq_len}, found {length}")
        return count, length

    def describe(self, windows: Sequence[Window], seed: Seed) -> dict[str, Any]:
        """Describe windows for a report.

        Args:
            windows: what collect() returned.
            seed: of the random windows.

        Returns:
            Plain data for report.json.
        """
        origins = [window.origin for window in windows]
        return {
            "depth": self.depth,
            "seed": seed.number,
            "seed_from": seed.origin,
            "windows": {origin: origins.count(origin) for origin in dict.fromkeys(origins)},
            "text": None if self.text is None else str(self.text),
            "tokens": str(self.tokens) if isinstance(self.tokens, Path) else None,
        }

    def _from_text(self, source: Source, count: int, length: int, long: int | None) -> list[NDArray[np.int64]]:
        """Return up to count windows, spread over the text; the last has `long` tokens if the text does."""
        if self.text is None:
            return []
        ids = encode(self.text, self.tokenizer or source.tokenizer_path, source.hyperparameters.vocab_size)
        if len(ids) < 2:
            raise CannotJudgeError(f"{self.text}: expected text of at least 2 tokens, found {len(ids)}")
        whole = len(ids) // length
        if whole == 0:
            return [ids]
        chosen = np.unique(np.linspace(0, whole - 1, count).round().astype(int))
        windows = [ids[at * length : (at + 1) * length] for at in chosen]
        return [*windows, ids[:long]] if long is not None and len(ids) >= long else windows

    def _from_tokens(self, source: Source, max_seq_len: int) -> list[NDArray[np.int64]]:
        if self.tokens is None:
            return []
        where: object = "tokens"
        rows: Sequence[NDArray[np.int64]] | NDArray[np.int64]
        if isinstance(self.tokens, Path):
            where = self.tokens
            rows = _saved_tokens(self.tokens)
        else:
            rows = [np.asarray(row) for row in self.tokens]
        if len(rows) == 0:
            raise CannotJudgeError(f"{where}: expected at least one window, found none")
        if len(rows) > _MOST_WINDOWS:
            raise CannotJudgeError(f"{where}: expected at most {_MOST_WINDOWS} windows, found {len(rows)}")
        vocab_size = source.hyperparameters.vocab_size
        for number, row in enumerate(rows):
            if row.dtype.kind not in "iu":
                raise CannotJudgeError(f"{where}: window {number}: expected integers, found {row.dtype}")
            if row.ndim != 1 or not 2 <= row.size <= max_seq_len:
                raise CannotJudgeError(
                    f"{where}: window {number}: expected 2 to {max_seq_len} tokens, found {row.shape}"
                )
            if row.min() < 0 or row.max() >= vocab_size:
                at = int(np.flatnonzero((row < 0) | (row >= vocab_size))[0])
                raise CannotJudgeError(
                    f"{where}: window {number}: token {at}: expected 0 to {vocab_size - 1}, found {row[at]}"
                )
        return [row.astype(np.int64) for row in rows]


def _saved_tokens(path: Path) -> NDArray[np.int64]:
    try:
        check_regular(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # mapped, so that a header with a false size costs no memory
            array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise CannotJudgeError(f"{path}: expected an .npy file, found: {(error.strerror or '').lower()}") from error
    except Exception as error:  # numpy evaluates the header, and lets any error through
        raise CannotJudgeError(f"{path}: expected an .npy file of integers, found another kind of file") from error
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise CannotJudgeError(
            f"{path}: expected integers of shape (windows, length), found {array.dtype} {array.shape}"
        )
    return array
