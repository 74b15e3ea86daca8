"""The steps of release() that concern a tokenizer and golden vectors, each called alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.reports import failing, passing

import exporter
import verify.release_file as module
from exporter.errors import WriteError
from verify.checks.tokenizer import TokenizerReport
from verify.release_file import ExportOptions
from verify.run.options import Options
from verify.run.requested import Requested


def checkpoint(refused: list[Path]) -> Any:
    return SimpleNamespace(refuse_as_target=refused.append)


def test_golden_vectors_need_a_path_of_their_own_and_a_bin_file(tmp_path: Path) -> None:
    refused: list[Path] = []
    made, out, words = checkpoint(refused), tmp_path / "out.bin", tmp_path / "words"

    def target(vectors: Path | None, kind: str = "v3", *, overwrite: bool = False) -> Path | None:
        export = ExportOptions(kind, overwrite=overwrite)
        return module._target_of_vectors(vectors, [out, None, words], made, export)

    assert (target(None), target(None, "hf"), refused) == (None, None, [])
    golden = tmp_path / "golden.npz"
    assert (target(golden), refused) == (golden.resolve(), [golden])
    with pytest.raises(exporter.FormatError) as caught:
        target(golden, "hf")
    assert str(caught.value) == "vectors: expected none for hf, as they are of a .bin file"
    for other in (out, words, tmp_path / "a" / ".." / "words"):
        with pytest.raises(WriteError) as refusal:
            target(other)
        assert str(refusal.value) == (f"{other}: vectors: expected a path of their own, found that of another output")
    golden.write_bytes(b"earlier")
    with pytest.raises(WriteError, match="add --overwrite"):
        target(golden)
    assert target(golden, overwrite=True) == golden.resolve()


def test_a_tokenizer_beside_the_candidate_is_judged_with_it() -> None:
    options = Options(report_dir="r", tokenizer_file="of the user", timed=True)
    export = ExportOptions("v2", 8)
    alone, with_words = (module._judging(options, export, words) for words in (None, Path("words")))
    expected = dataclasses.replace(options, requested=Requested("v2", 8, "source"), report_dir=None)
    assert alone == expected
    assert with_words == dataclasses.replace(expected, tokenizer_file=Path("words"))


@pytest.mark.parametrize("tokenizer_out", [None, Path("given.tokenizer")])
def test_a_report_names_the_tokenizer_where_it_appears(tokenizer_out: Path | None) -> None:
    block = TokenizerReport("v3", None, 5, "0" * 64, "tokenizer.json", "tokenizers")
    beside = dataclasses.replace(block, form="llama2c", path="room/words")
    report = dataclasses.replace(passing(), tokenizers=(block, beside))
    found = module._as_published(report, Path("out.bin"), tokenizer_out)
    assert [one.path for one in found.tokenizers] == [None, str(tokenizer_out or "room/words")]
    assert found.file == {**report.file, "path": "out.bin"}
    assert module._as_published(failing(), Path("out.bin"), None).file["path"] == "out.bin (not released)"


@pytest.mark.parametrize("passes", [True, False])
@pytest.mark.parametrize("wanted", [True, False])
def test_golden_vectors_are_made_of_a_candidate_that_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, passes: bool, wanted: bool
) -> None:
    asked: list[Any] = []

    def make(source: str, candidate: Path, **how: Any) -> Any:
        asked.append((source, candidate, how["report"]))
        return SimpleNamespace(vectors="the vectors")

    @contextmanager
    def beside(content: str, target: Path, *, overwrite: bool) -> Iterator[Any]:
        asked.append((content, target, overwrite))
        yield "what publishes them", ()

    for name, value in (("make_vectors", make), ("encode", lambda made: made), ("staged_beside", beside)):
        monkeypatch.setattr(module, name, value)
    report, target, candidate = passing() if passes else failing(), tmp_path / "golden", tmp_path / "out.bin"
    export = ExportOptions("v3", overwrite=True)
    with module._staged_vectors(
        Path("source"), candidate, target if wanted else None, export, Options(), report
    ) as publish:
        found: object = publish
        if passes and wanted:
            assert found == "what publishes them"
            assert asked == [("source", candidate, report), ("the vectors", target, True)]
        else:
            assert (found, asked) == (nullcontext, [])


def test_all_that_stands_beside_a_file_is_published_around_it() -> None:
    order: list[str] = []

    def beside(name: str) -> Any:
        @contextmanager
        def publish() -> Iterator[None]:
            order.append(f"{name} before")
            yield
            order.append(f"{name} after")

        return publish

    module._publish_all(
        (beside("words"), beside("vectors")), lambda: order.append("file"), lambda: order.append("report"), Path("o")
    )
    assert order == ["words before", "vectors before", "file", "vectors after", "words after", "report"]
