"""Decides which links in a source's directory may be followed.

A link out of the directory makes a program that reads untrusted sources open any file of its user. Links into a
Hugging Face cache are allowed, because old downloads of the hub were made of them; every other link out needs the
user's word.
"""

from __future__ import annotations

import fnmatch
from itertools import pairwise
from pathlib import Path

from verify.errors import CannotJudgeError


def expect_followable(path: Path, *, follow_links: bool) -> None:
    """Raise CannotJudgeError where a file's name leads out of its directory, except into a Hugging Face cache
    (.../models--org--name/blobs/digest) or where follow_links says that the user trusts it."""
    if follow_links or not path.exists():
        return
    directory, real = path.parent.resolve(), path.resolve()
    if not real.is_relative_to(directory) and not _is_in_hub_cache(real):
        raise CannotJudgeError(
            f"{path}: expected a file in its directory, found a link out of it: give --follow-links if you trust it"
        )


def _is_in_hub_cache(real: Path) -> bool:
    return any(fnmatch.fnmatchcase(a, "models--*--*") and b == "blobs" for a, b in pairwise(real.parent.parts))
