"""Calls of the tokenizer's C functions with arguments that the Python class refuses itself, and their room."""

from __future__ import annotations

from typing import Any

import pytest
from helpers import tokenizer_blocks as blocks
from helpers.tokenizer_bins import byte_entries, content
from helpers.tokenizer_blocks import Block
from reader_c._reader import ffi, lib

TOKENS = 262
BIN = content([*byte_entries(), (b" ", 0.0), (b"a", 0.0), (b"b", 0.0)])
SMALL = Block(pieces=[bytes([byte]) for byte in range(256)])
MOST = {"bin": 2**31 - 4, "block": 2**28}


def opened(content: bytes, *, block: bool) -> Any:
    tokenizer, status = ffi.new("rc_tokenizer **"), ffi.new("rc_status *")
    function = lib.rc_tokenizer_open_block if block else lib.rc_tokenizer_open
    assert function(content, len(content), TOKENS, tokenizer, status) == lib.RC_OK
    return ffi.gc(tokenizer[0], lib.rc_tokenizer_close)


@pytest.fixture(params=MOST)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tokenizer(kind: str) -> Any:
    return opened(BIN, block=False) if kind == "bin" else opened(SMALL.content(), block=True)


def said(status: Any) -> tuple[str, int, str, int, int]:
    field, rule = (ffi.string(text).decode() for text in (status.field, status.rule))
    return field, status.offset, rule, status.expected, status.found


@pytest.mark.parametrize(
    ("token", "rule", "bound"), [(-1, "at least", 0), (-(2**31), "at least", 0), (TOKENS, "at most", TOKENS - 1)]
)
def test_ids_outside_the_vocabulary_are_refused(tokenizer: Any, token: int, rule: str, bound: int) -> None:
    size, status = ffi.new("int64_t *"), ffi.new("rc_status *")
    code = lib.rc_tokenizer_decode(tokenizer, -1, [3, token], 2, 0, ffi.NULL, size, status)
    assert code == status.code == lib.RC_ARGUMENT
    assert said(status) == ("token", 1, rule, bound, token)


def test_texts_of_too_many_bytes_are_refused_unread(tokenizer: Any, kind: str) -> None:
    for size in (-1, MOST[kind] + 1, 2**62):
        count, status = ffi.new("int64_t *", 7), ffi.new("rc_status *")
        code = lib.rc_tokenizer_encode(tokenizer, ffi.NULL, size, 0, 0, 0, ffi.NULL, count, status)
        assert (code, count[0]) == (lib.RC_ARGUMENT, 0)
        assert said(status) == ("bytes of the text", -1, "at most", MOST[kind], size)


def test_a_block_of_too_many_bytes_is_refused_by_its_size() -> None:
    tokenizer, status = ffi.new("rc_tokenizer **"), ffi.new("rc_status *")
    code = lib.rc_tokenizer_open_block(SMALL.content(), 1 << 31, TOKENS, tokenizer, status)
    assert (code, tokenizer[0]) == (lib.RC_INVALID, ffi.NULL)
    assert said(status) == ("tokenizer size", -1, "at most", 2**31 - 1, 1 << 31)


def test_a_text_has_as_many_tokens_as_there_is_room_for() -> None:
    """bos and eos; of kind 2, three bytes a space; with NFC, three bytes of one; with a prefix, one for each part."""
    assert lib.rc_tokenizer_room(opened(BIN, block=False), 10) == 13
    for kind, flags, room in (
        (1, 0, 12),
        (1, blocks.NFC, 32),
        (1, blocks.PREFIX, 22),
        (1, blocks.NFC | blocks.PREFIX, 42),
        (2, 0, 32),
        (2, blocks.PREFIX, 62),
        (2, blocks.NFC | blocks.PREFIX, 122),
    ):
        block = Block(kind=kind, flags=flags, pieces=[b"a"], scores=[0.0] if kind == 2 else None).content()
        assert lib.rc_tokenizer_room(opened(block, block=True), 10) == room
