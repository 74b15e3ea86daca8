"""Reads v3's tokenizer block by the table of its specification, and by nothing of the exporter."""

from __future__ import annotations

import struct
from typing import Any

FLAGS = ("ignore_merges", "begins", "ends", "nfc", "digits", "space_first", "byte_fallback", "single_spaces")


def read_block(block: bytes) -> dict[str, Any]:
    """Return what a block says, by the names of the specification."""
    names = ("kind", "flags", "pre_tokenizer", "token_count", "merge_count", "added_count")
    said: dict[str, Any] = dict(zip(names, struct.unpack_from("<6I", block), strict=True))
    said["bos"], said["unk"], said["eos_count"], said["eos"] = struct.unpack_from("<iiIi", block, 24)
    said["template_size"], said["scored"], said["piece_bytes"] = struct.unpack_from("<IIQ", block, 40)
    assert block[56:64] == bytes(8)
    said["flags"] = {name for bit, name in enumerate(FLAGS) if said["flags"] >> bit & 1}
    at = 64
    ends = struct.unpack_from(f"<{said['token_count']}I", block, at)
    at += 4 * said["token_count"]
    starts = (0, *ends[:-1])
    said["pieces"] = [block[at + start : at + end] for start, end in zip(starts, ends, strict=True)]
    at += said["piece_bytes"] + -said["piece_bytes"] % 4
    if said["scored"]:
        said["scores"] = list(struct.unpack_from(f"<{said['token_count']}f", block, at))
        at += 4 * said["token_count"]
    said["merges"] = [struct.unpack_from("<2I", block, at + 8 * n) for n in range(said["merge_count"])]
    at += 8 * said["merge_count"]
    said["added"] = [struct.unpack_from("<2I", block, at + 8 * n) for n in range(said["added_count"])]
    at += 8 * said["added_count"]
    said["eos_ids"] = list(struct.unpack_from(f"<{said['eos_count']}I", block, at))
    at += 4 * said["eos_count"]
    said["template"] = block[at : at + said["template_size"]].decode()
    at += said["template_size"]
    assert len(block) == at + -at % 64
    assert not block[at:].strip(b"\0")
    return said
