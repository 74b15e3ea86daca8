"""The seed follows from the judged file, unless somebody gives one or a baseline has one."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verify.errors import CannotJudgeError
from verify.evidence.seed import Seed, choose_seed

DIGESTS = st.binary().map(lambda content: hashlib.sha256(content).hexdigest())


@given(sha256=DIGESTS, given_seed=st.integers(0, 2**70), earlier=st.integers(0, 2**53 - 1))
def test_a_given_seed_comes_first_then_the_baselines_then_the_files(
    sha256: str, given_seed: int, earlier: int
) -> None:
    baseline = {"seed": earlier}
    assert choose_seed(given_seed, sha256, baseline) == choose_seed(given_seed, sha256, None)
    assert choose_seed(given_seed, sha256, None) == Seed(given_seed, "given")
    assert choose_seed(None, sha256, baseline) == Seed(earlier, "baseline")
    assert choose_seed(None, sha256, None).origin == "file"


@given(content=st.binary(min_size=1), at=st.integers(0), bit=st.integers(0, 7))
def test_one_changed_bit_of_the_file_gives_another_seed(content: bytes, at: int, bit: int) -> None:
    changed = bytearray(content)
    changed[at % len(content)] ^= 1 << bit
    one, other = (choose_seed(None, hashlib.sha256(each).hexdigest(), None) for each in (content, bytes(changed)))
    assert one != other
    assert choose_seed(None, hashlib.sha256(content).hexdigest(), None) == one


@given(sha256=DIGESTS)
def test_every_json_reader_holds_a_files_seed_exactly(sha256: str) -> None:
    number = choose_seed(None, sha256, None).number
    assert int(float(number)) == number
    # the digest's first bits
    assert bin(int("1" + sha256, 16))[3:].startswith(f"{number:053b}")


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(CannotJudgeError, match=r"^seed: expected 0 or more, found -1$"):
        choose_seed(-1, "0" * 64, None)
