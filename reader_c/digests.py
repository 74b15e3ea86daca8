"""Check the digests of a v3 file, which detect every changed bit, and read its metadata.

BLAKE3 comes from its authors' library. The C reader has checked every size before this module reads a byte.
"""

from __future__ import annotations

import struct

from blake3 import blake3

from reader_c.errors import InvalidFileError

DIGEST_BYTES = 32
# The model's digest covers the fields that the logits depend on; and what lies between fixed header and metadata: the
# architecture block, the layer table and the table of tensors.
_MODEL_DIGEST_AT = 160
_MODEL_FIELDS = 128
_HEADER = 256


def _digest(*parts: memoryview) -> str:
    state = blake3(max_threads=blake3.AUTO)
    for part in parts:
        state.update(part)
    return state.hexdigest()


def check_head(path: str, head: memoryview, tables_end: int) -> None:
    """Raise InvalidFileError unless both digests in a v3 file's head match its bytes.

    tables_end: where the metadata begins.
    """
    _compare(path, "head digest", len(head) - DIGEST_BYTES, bytes(head[-DIGEST_BYTES:]), head[:-DIGEST_BYTES])
    found = bytes(head[_MODEL_DIGEST_AT : _MODEL_DIGEST_AT + DIGEST_BYTES])
    _compare(path, "model digest", _MODEL_DIGEST_AT, found, head[:_MODEL_FIELDS], head[_HEADER:tables_end])


def check_tensor(path: str, name: str, extent: memoryview, digest: str, at: int) -> None:
    """Raise InvalidFileError unless a tensor's bytes match the digest in the table. at: the digest's offset."""
    _compare(path, f"{name}: digest", at, bytes.fromhex(digest), extent)


def _compare(path: str, field: str, at: int, written: bytes, *parts: memoryview) -> None:
    computed = _digest(*parts)
    if computed != written.hex():
        raise InvalidFileError(path, field, at, f"{computed}, as the bytes have it", written.hex())


def read_metadata(content: memoryview, count: int) -> dict[str, str]:
    """Return v3's metadata, key to value. count: of pairs in content."""
    pairs: dict[str, str] = {}
    at = 0
    for _ in range(count):
        key_size, value_size = struct.unpack_from("<II", content, at)
        at += 8
        key = bytes(content[at : at + key_size]).decode()
        pairs[key] = bytes(content[at + key_size : at + key_size + value_size]).decode()
        at += key_size + value_size
    return pairs
