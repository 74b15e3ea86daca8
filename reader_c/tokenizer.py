"""Tokenizer: text to token ids and back, by llama2.c's tokenizer.bin or by the tokenizer block of a v3 file."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from reader_c import errors
from reader_c._reader import ffi, lib
from reader_c.status import check

# run.c's own ids
BOS, EOS = 1, 2


class Tokenizer:
    """A checked tokenizer, for a model of vocab_size tokens. Threads may share it.

    Tokenizer(path, vocab_size) reads a tokenizer.bin, which encodes as run.c does. The file does not say how many
    tokens it has, so it must have exactly those of the model. Tokenizer.from_block() reads a v3 file's tokenizer
    block, which encodes as Hugging Face's tokenizers library does with the tokenizer.json that the block comes from.

    Args:
        path: the file.
        vocab_size: the number of the model's tokens.

    Attributes:
        path, vocab_size: as given.
        token_count: tokens that the tokenizer has, at most vocab_size.
        bos, eos: the tokens that encode() puts before and behind a text; None where there is none.
        eos_ids: the tokens that end a text which a model generates: token 1 of a tokenizer.bin, as in run.c.
        chat_template: Jinja's source; empty where there is none.

    Raises:
        InvalidFileError: the file is at fault, also for two equal pieces, of which run.c may find either.
        ReaderSystemError: the file cannot be read.
        ArgumentError: no such file can have this vocab_size.
    """

    def __init__(self, path: str | os.PathLike[str], vocab_size: int) -> None:
        self.path = os.fsdecode(path)
        content = _read(self.path)
        self._open(lib.rc_tokenizer_open, content, vocab_size, _remark(content))

    @classmethod
    def from_block(
        cls, data: bytes | memoryview, vocab_size: int, *, path: str = "tokenizer block", at: int = 0
    ) -> Tokenizer:
        """Read the tokenizer block of a v3 file.

        Args:
            data: the block's bytes, of which the tokenizer keeps a copy.
            vocab_size: the number of the model's tokens, at least the block's.
            path, at: the file, and the byte where the block begins in it, for messages.

        Returns:
            The tokenizer.

        Raises:
            InvalidFileError: the block breaks a rule of its format; the error names field and offset.
            ArgumentError: vocab_size is not a number of tokens.
        """
        tokenizer = cls.__new__(cls)
        tokenizer.path = path
        tokenizer._open(lib.rc_tokenizer_open_block, bytes(data), vocab_size, "", at)
        return tokenizer

    def _open(self, function: Any, content: bytes, vocab_size: int, remark: str, at: int = 0) -> None:
        """Open the C tokenizer and read what it says about itself."""
        if isinstance(vocab_size, bool) or not isinstance(vocab_size, (int, np.integer)):
            raise errors.ArgumentError(self.path, "vocab_size", None, "an integer", repr(vocab_size))
        # no vocabulary is larger, and C takes 64 bits
        self.vocab_size = min(max(int(vocab_size), -1), 1 << 62)
        out, status = ffi.new("rc_tokenizer **"), ffi.new("rc_status *")
        code = function(ffi.from_buffer(content), len(content), self.vocab_size, out, status)
        if status.offset >= 0:
            status.offset += at
        check(self.path, code, status, remark=remark)
        self._pointer: Any = ffi.gc(out[0], lib.rc_tokenizer_close)
        c = ffi.new("rc_tokenizer_config *")
        lib.rc_tokenizer_describe(self._pointer, c)
        self.is_block = bool(c.kind)
        self.token_count = int(c.token_count)
        self.bos, self.eos = (None if token < 0 else int(token) for token in (c.bos, c.eos))
        self.eos_ids = tuple(ffi.unpack(c.eos_ids, c.eos_count)) if self.is_block else (BOS,)
        self.chat_template = (
            ffi.unpack(ffi.cast("char *", c.chat_template), c.template_size).decode() if c.template_size else ""
        )
        self._defaults = (bool(c.begins_with_bos), bool(c.ends_with_eos))

    def encode(
        self, text: str | bytes, *, bos: bool | None = None, eos: bool | None = None, special: bool = True
    ) -> list[int]:
        """Split a text into tokens.

        Args:
            text: the text, or bytes in any encoding.
            bos, eos: begin with the token bos, end with the token eos; by default as the block says, and neither for
                a tokenizer.bin.
            special: find the special tokens of a block that the text spells. False takes them for ordinary text, as
                is right for text that somebody else wrote.

        Returns:
            The token ids.

        Raises:
            ArgumentError: the tokenizer has no such bos or eos. Of a tokenizer.bin: the text has a zero byte, which
                ends a text in C, or a byte whose token the vocabulary lacks; or the vocabulary has no piece of one
                space.
        """
        content = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else bytes(text)
        begins, ends = self._defaults
        begins, ends = begins if bos is None else bool(bos), ends if eos is None else bool(eos)
        tokens = np.empty(lib.rc_tokenizer_room(self._pointer, len(content)), np.int32)
        count, status = ffi.new("int64_t *"), ffi.new("rc_status *")
        room = ffi.from_buffer("int32_t[]", tokens, require_writable=True)
        code = lib.rc_tokenizer_encode(
            self._pointer, ffi.from_buffer(content), len(content), begins, ends, bool(special), room, count, status
        )
        check(self.path, code, status, remark="")
        return tokens[: count[0]].tolist()  # type: ignore[no-any-return]

    def decode(
        self,
        ids: Sequence[int] | NDArray[Any],
        *,
        previous: int | None = None,
        shown: bool = False,
        special: bool = True,
    ) -> bytes:
        """Join the pieces of tokens to a text, in which a piece such as "<0x0A>" is that byte.

        Args:
            ids: the token ids.
            previous: the id before them.
            shown: omit what run.c does not print, a byte on its own that is neither printable ASCII nor white space.
                Only for a tokenizer.bin.
            special: False omits the special tokens of a block.

        Returns:
            The text. Of a tokenizer.bin: without token 1, and without one space that begins the token after it. Of a
            block: without the space that encode() puts before the text, where the block's spaces are U+2581.

        Raises:
            ArgumentError: an id is outside the vocabulary.
        """
        tokens = self._ids(ids)
        before = -1 if previous is None else int(self._ids([previous])[0])
        how = lib.RC_SHOWN * bool(shown) + lib.RC_WITHOUT_SPECIAL * (not special)
        size = self._text(tokens, before, how, None)
        text = bytearray(size)
        self._text(tokens, before, how, text)
        return bytes(text)

    def _text(self, tokens: NDArray[np.int32], before: int, how: int, text: bytearray | None) -> int:
        """Return the size of the text, and write it where there is room for it."""
        size, status = ffi.new("int64_t *"), ffi.new("rc_status *")
        given = ffi.from_buffer("int32_t[]", tokens)
        room = ffi.NULL if text is None else ffi.from_buffer("uint8_t[]", text, require_writable=True)
        code = lib.rc_tokenizer_decode(self._pointer, before, given, len(tokens), how, room, size, status)
        check(self.path, code, status)
        return int(size[0])

    def _ids(self, ids: Sequence[int] | NDArray[Any]) -> NDArray[np.int32]:
        """Return ids as C takes them; those that 32 bits cannot hold are refused here."""
        given = np.asarray(ids)
        if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
            raise errors.ArgumentError(self.path, "tokens", None, "one dimension of integers", repr(ids)[:80])
        outside = np.flatnonzero((given < 0) | (given >= self.vocab_size))
        if outside.size:
            at = int(outside[0])
            raise errors.ArgumentError(self.path, "token", at, f"0 to {self.vocab_size - 1}", str(given[at]))
        return np.array(given, np.int32, order="C")

    def __repr__(self) -> str:
        return f"Tokenizer({self.path!r}, {self.vocab_size})"

    def __reduce__(self) -> NoReturn:
        # a copy would free C's memory twice
        raise TypeError("a tokenizer cannot be copied or pickled")


def _read(path: str) -> bytes:
    number = errno.ENODEV
    try:
        with open(path, "rb", opener=_without_waiting) as file:  # Path.open takes no opener
            if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return file.read()
    except OSError as error:
        number = error.errno or errno.EIO
    except ValueError as error:
        raise errors.ArgumentError(repr(path), "path", None, "no null byte", "one") from error
    raise errors.ReaderSystemError(path, "tokenizer", number)


def _without_waiting(path: str, flags: int) -> int:
    # opening a FIFO must not wait for a writer
    return os.open(path, flags | os.O_NONBLOCK)


def _remark(content: bytes) -> str:
    """Return, in brackets, which other kind of tokenizer a refused file is likely to be."""
    if content.lstrip()[:1] == b"{":
        return " (is it a tokenizer.json?)"
    # a SentencePiece model begins with a piece, a field of two lengths; max_token_length has two high bytes of zero
    if content[:1] == b"\n" and content[2:4] != b"\0\0":
        return " (is it a SentencePiece model?)"
    return " (is it the tokenizer of another model?)"
