"""Bytes as the documentation shows them."""

from __future__ import annotations


def hexdump(content: bytes, start: int, stop: int) -> str:
    """Lines of 16 bytes from start to stop; a star stands for lines of zeros."""
    lines: list[str] = []
    for at in range(start, stop, 16):
        row = content[at : min(at + 16, stop)]
        if not any(row) and lines:
            if lines[-1] != "*":
                lines.append("*")
            continue
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        lines.append(f"{at:08x}  {row[:8].hex(' ')}  {row[8:].hex(' ')}  |{text}|")
    return "\n".join(lines)
