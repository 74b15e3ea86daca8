"""Check what the metadata of a v3 file says about its source, and list the keys that no source can prove."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from verify.checks.digits import counted
from verify.sources import Source

_JUDGED = ("source.kind", "source.sha256", "tokenizer.sha256")
# the kind of a model that was exported from memory, and so from no files
_MEMORY = "memory"
_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")

# How many keys a sentence names.
_NAMED = 8


def not_judged(metadata: Mapping[str, str], source: Source) -> list[str]:
    """Return the keys whose values the source cannot prove: who wrote the file, its license, anybody's own keys.

    A model in memory may hold the weights of any source, so no source can disprove that a file was made from one.
    """
    unproven = {"source.kind"} if metadata.get("source.kind") == _MEMORY != source.kind else set()
    return sorted((metadata.keys() - set(_JUDGED)) | unproven)


def describe_not_judged(keys: list[str]) -> str:
    """Return the keys as the end of a sentence; empty if every key is judged."""
    if not keys:
        return ""
    more = f" and {counted(len(keys) - _NAMED, 'other key')}" if len(keys) > _NAMED else ""
    return f"; not judged: {', '.join(keys[:_NAMED])}{more}"


def provenance_findings(metadata: Mapping[str, str], source: Source) -> list[str]:
    """Return what is false in a file's statements about its source; empty if nothing is, or if it makes none.

    A file that makes one must name the kind of this source and exactly its files. The source can also prove whether a
    tokenizer stands beside it.
    """
    kind = metadata.get("source.kind")
    if kind is None:
        stray = sorted(key for key in ("source.sha256", "tokenizer.sha256") if key in metadata)
        return [f"provenance: {key}: expected a source.kind beside it, found none" for key in stray]
    if kind == _MEMORY:
        stray = sorted(key for key in ("source.sha256", "tokenizer.sha256") if key in metadata)
        return [
            f"provenance: {key}: expected none, as source.kind is {_MEMORY}, found {metadata[key]!r}" for key in stray
        ]
    findings: list[str] = []
    if kind != source.kind:
        findings.append(
            f"provenance: source.kind: expected {source.kind}, as this source is, found {kind!r}: verify the file "
            "against the source that it names"
        )
    said, malformed = _lines(metadata.get("source.sha256", ""))
    findings += malformed
    # of a source of another kind, only names that both have say more than its kind does
    every = source.files.keys() | said.keys() if kind == source.kind else source.files.keys() & said.keys()
    for name in sorted(every):
        expected, found = source.files.get(name, "no such file"), said.get(name, "none")
        if expected != found:
            shown = name if name.isprintable() else repr(name)
            findings.append(f"provenance: {shown}: expected {expected}, found {found}")
    if "tokenizer.sha256" in metadata:
        findings += _tokenizer_findings(metadata["tokenizer.sha256"], source.tokenizer_path)
    return findings


def _lines(text: str) -> tuple[dict[str, str], list[str]]:
    """Return name -> digest of the lines of source.sha256, and what is wrong with their form."""
    said: dict[str, str] = {}
    findings: list[str] = []
    *lines, rest = text.split("\n")
    if rest and _LINE.fullmatch(rest):
        findings.append(f"provenance: source.sha256: expected a line break at its end, found {rest!r}")
    for line in [*lines, rest] if rest else lines:
        match = _LINE.fullmatch(line)
        if match is None:
            findings.append(f"provenance: source.sha256: expected digest, two spaces and a name, found {line!r}")
        elif match[2] in said:
            findings.append(f"provenance: source.sha256: expected {match[2]!r} once, found it again")
        else:
            said[match[2]] = match[1]
    return said, findings


def _tokenizer_findings(said: str, tokenizer: Path) -> list[str]:
    if not tokenizer.is_file():
        return [
            f"provenance: tokenizer.sha256: expected none, as no tokenizer stands beside the source, found {said!r}"
        ]
    expected = f"{hashlib.sha256(tokenizer.read_bytes()).hexdigest()}  {tokenizer.name}\n"
    return [] if said == expected else [f"provenance: tokenizer.sha256: expected {expected!r}, found {said!r}"]
