"""Evidence on disk is found again by the same run only, and damage to it costs time, never a wrong answer."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from verify.errors import CannotJudgeError
from verify.run import resume
from verify.run.resume import EvidenceStore, program

RUN = {"file": "a digest", "windows": [1, 2]}


@dataclass(frozen=True)
class Inner:
    name: str
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    count: int
    inners: tuple[Inner, ...]
    table: NDArray[np.int64]
    missing: float | None = None


def part() -> Part:
    inners = (Inner("a", np.array([0.1, -0.0, np.inf])), Inner("b", np.zeros(0)))
    return Part(3, inners, np.arange(6, dtype=np.int64).reshape(2, 3))


def same(one: Part, other: Part) -> bool:
    arrays = [[part.table, *(inner.values for inner in part.inners)] for part in (one, other)]
    rest = [(part.count, part.missing, [inner.name for inner in part.inners]) for part in (one, other)]
    bits = [[(array.dtype, array.shape, array.tobytes()) for array in each] for each in arrays]
    return rest[0] == rest[1] and bits[0] == bits[1]


def test_a_part_comes_back_with_the_same_bits(tmp_path: Path) -> None:
    EvidenceStore(tmp_path / "kept", RUN).put("window-1", part())
    found = EvidenceStore(tmp_path / "kept", RUN).get("window-1", Part)
    assert found is not None
    assert same(found, part())
    assert [path.suffix for path in (tmp_path / "kept").iterdir()] == [".npz"]


def test_another_run_another_name_and_no_directory_find_nothing(tmp_path: Path) -> None:
    EvidenceStore(tmp_path, RUN).put("window-1", part())
    assert EvidenceStore(tmp_path, RUN).get("window-2", Part) is None
    assert EvidenceStore(tmp_path, {**RUN, "file": "another digest"}).get("window-1", Part) is None
    EvidenceStore(None, RUN).put("window-1", part())
    assert EvidenceStore(None, RUN).get("window-1", Part) is None


def test_a_damaged_part_is_no_part(tmp_path: Path) -> None:
    kept = EvidenceStore(tmp_path, RUN)
    kept.put("window-1", part())
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[:100], whole[:-30], b"PK" + whole[2:60], b"not a zip"):
        path.write_bytes(damaged)
        assert kept.get("window-1", Part) is None
    path.write_bytes(whole)
    assert kept.get("window-1", Inner) is None
    assert kept.get("window-1", Part) is not None


def test_a_directory_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotJudgeError, match=r"file: expected a directory .*found: (file exists|not a directory)$"):
        EvidenceStore(tmp_path / "file", RUN).put("window-1", part())


def test_the_program_has_one_digest() -> None:
    assert program() == program()
    assert len(bytes.fromhex(program())) == 32


@pytest.fixture
def copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small program of the same two packages, whose digest is taken."""
    for name in ("reader_c/__init__.py", "reader_c/_reader.abi3.so", "verify/run/resume.py", "verify/a/b.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    monkeypatch.setattr(resume.reader_c, "__file__", str(tmp_path / "reader_c/__init__.py"))
    monkeypatch.setattr(resume, "__file__", str(tmp_path / "verify/run/resume.py"))
    return tmp_path


@pytest.mark.parametrize(
    "name", ["reader_c/_reader.abi3.so", "reader_c/__init__.py", "verify/run/resume.py", "verify/a/b.py"]
)
def test_a_rebuilt_reader_and_any_other_code_is_another_program(copied: Path, name: str) -> None:
    """Evidence of the program before says nothing about this one."""
    before = program()
    EvidenceStore(copied / "kept", {**RUN, "program": before}).put("window-1", part())
    path = copied / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert program() != before
    assert EvidenceStore(copied / "kept", {**RUN, "program": program()}).get("window-1", Part) is None
    content[-1] ^= 1
    path.write_bytes(content)
    assert program() == before


def test_a_file_more_or_less_is_another_program_and_what_is_no_code_is_none(copied: Path) -> None:
    before = program()
    (copied / "verify/policy.toml").write_bytes(b"no code")
    (copied / "verify/a/b.pyc").write_bytes(b"compiled of the code")
    assert program() == before
    (copied / "verify/a/c.py").write_bytes(b"")
    assert program() != before
