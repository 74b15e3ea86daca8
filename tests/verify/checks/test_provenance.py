"""A v3 file's statements about its source are true, or fail; what no source can prove is listed."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers.checkpoints import save, state_dict

import exporter
import reader_c
from exporter.bin_file import write_v3
from exporter.formats import v3
from exporter.payload import PayloadWriter
from verify.checks.file import check_file
from verify.checks.provenance import describe_not_judged, not_judged, provenance_findings
from verify.checks.result import CheckResult
from verify.sources import open_source


def written(source: Path, metadata: dict[str, str]) -> Path:
    """A v3 file that is right in all but perhaps its metadata."""
    checkpoint, path = exporter.open_checkpoint(source), source.with_name("out.bin")
    stored = {name: v3.Stored("fp32") for name in checkpoint.names}
    with path.open("wb+") as file:
        plan = v3.plan(checkpoint.config, stored, metadata)
        write_v3(file, PayloadWriter(checkpoint), plan, lambda: metadata)
    return path


def checked(source: Path, path: Path) -> CheckResult:
    with reader_c.open(path) as model:
        return check_file(model, open_source(source), 33)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "tokenizer.model").write_bytes(b"a tokenizer")
    return save(tmp_path, state_dict())


@pytest.fixture
def true(source: Path) -> dict[str, str]:
    """What this project's exporter writes."""
    path = source.with_name("exported.bin")
    exporter.export(exporter.open_checkpoint(source), path, format="v3")
    with reader_c.open(path) as model:
        return dict(model.metadata)


def test_true_statements_pass_and_what_nothing_proves_is_listed(source: Path, true: dict[str, str]) -> None:
    assert set(true) == {"exporter", "source.kind", "source.sha256", "tokenizer.sha256"}
    found = checked(source, written(source, true))
    assert (found.status, found.where) == ("pass", {"not_judged": ["exporter"]})
    assert found.detail.endswith("every bit covered by a correct digest; not judged: exporter")


def test_keys_of_other_programs_pass_and_are_listed(source: Path, true: dict[str, str]) -> None:
    own = {"exporter": "a program that never was", "verdict": "pass", "license": "public domain"}
    for metadata in (own, {**true, **own}):
        found = checked(source, written(source, metadata))
        assert found.status == "pass"
        assert found.detail.endswith("; not judged: exporter, license, verdict")
        assert found.where == {"not_judged": ["exporter", "license", "verdict"]}


def test_a_file_without_metadata_passes_and_lists_nothing(source: Path) -> None:
    found = checked(source, written(source, {}))
    assert (found.status, found.where) == ("pass", {})
    assert found.detail.endswith("every bit covered by a correct digest")


def test_a_sentence_names_eight_keys_and_counts_the_others(source: Path) -> None:
    keys = not_judged(dict.fromkeys([*(f"k{n}" for n in range(10)), "source.kind"], "x"), open_source(source))
    assert describe_not_judged(keys) == "; not judged: k0, k1, k2, k3, k4, k5, k6, k7 and 2 other keys"
    assert describe_not_judged(keys[:9]) == "; not judged: k0, k1, k2, k3, k4, k5, k6, k7 and 1 other key"
    assert describe_not_judged(keys[:8]) == "; not judged: k0, k1, k2, k3, k4, k5, k6, k7"


ZEROS = "0" * 64


@pytest.mark.parametrize("kind", ["huggingface", "meta", "v3", "bin", "gguf"])
@pytest.mark.parametrize("lines", [f"{ZEROS}  model.safetensors\n", None])
def test_another_kind_of_source_fails_with_false_digests_or_none(
    source: Path, true: dict[str, str], kind: str, lines: str | None
) -> None:
    metadata = {**true, "source.kind": kind, "source.sha256": lines}
    found = checked(source, written(source, {key: value for key, value in metadata.items() if value is not None}))
    assert (found.status, found.observed) == ("fail", 1.0)
    assert found.detail == (
        f"provenance: source.kind: expected llama2c, as this source is, found '{kind}': verify the file against the "
        "source that it names"
    )


def test_a_model_from_memory_may_be_any_source_but_names_no_files(source: Path, true: dict[str, str]) -> None:
    found = checked(source, written(source, {"source.kind": "memory"}))
    assert found.status == "pass"
    assert found.detail.endswith("; not judged: source.kind")
    for key in ("source.sha256", "tokenizer.sha256"):
        found = checked(source, written(source, {"source.kind": "memory", key: true[key]}))
        assert found.status == "fail"
        assert found.detail == f"provenance: {key}: expected none, as source.kind is memory, found {true[key]!r}"


def test_a_false_digest_of_the_source_fails_with_both(source: Path, true: dict[str, str]) -> None:
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    found = checked(source, written(source, {**true, "source.sha256": f"{ZEROS}  {source.name}\n"}))
    assert found.status == "fail"
    assert found.detail == f"provenance: {source.name}: expected {digest}, found {ZEROS}"


def test_an_invented_tokenizer_fails(source: Path, true: dict[str, str]) -> None:
    digest = hashlib.sha256(b"a tokenizer").hexdigest()
    invented = f"{ZEROS}  tokenizer.model\n"
    path = written(source, {**true, "tokenizer.sha256": invented})
    found = checked(source, path)
    assert found.status == "fail"
    assert found.detail == (
        f"provenance: tokenizer.sha256: expected '{digest}  tokenizer.model\\n', found {invented!r}"
    )
    source.with_name("tokenizer.model").unlink()
    found = checked(source, path)
    assert found.status == "fail"
    assert found.detail == (
        f"provenance: tokenizer.sha256: expected none, as no tokenizer stands beside the source, found {invented!r}"
    )


@pytest.mark.parametrize(
    ("metadata", "finding"),
    [
        ({"source.sha256": "x\n"}, "source.sha256: expected a source.kind beside it, found none"),
        ({"tokenizer.sha256": "x\n"}, "tokenizer.sha256: expected a source.kind beside it, found none"),
        ({"source.kind": "meta", "source.sha256": "x\n"}, "expected digest, two spaces and a name, found 'x'"),
        ({"source.kind": "meta", "source.sha256": "0" * 64 + "  a"}, "expected a line break at its end"),
        ({"source.kind": "llama2c", "source.sha256": ""}, "checkpoint.pt: expected "),
    ],
)
def test_wrong_statements_about_the_source_are_named(source: Path, metadata: dict[str, str], finding: str) -> None:
    findings = provenance_findings(metadata, open_source(source))
    assert any(finding in found for found in findings if found.startswith("provenance: ")), findings


def test_lines_of_digests_are_judged_one_by_one(source: Path) -> None:
    """A name may come once, a line is a digest, two spaces and a name, and the last one ends too."""
    opened = open_source(source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    right = f"{digest}  {source.name}\n"

    def found(lines: str) -> list[str]:
        return provenance_findings({"source.kind": "llama2c", "source.sha256": lines}, opened)

    assert found(right) == []
    assert found(right * 2) == [f"provenance: source.sha256: expected {source.name!r} once, found it again"]
    # another digest of the same file, and the same digest of another
    again = f"{ZEROS}  {source.name}\n"
    assert found(right + again) == [f"provenance: source.sha256: expected {source.name!r} once, found it again"]
    assert found(right + f"{digest}  b\n") == [f"provenance: b: expected no such file, found {digest}"]
    assert found(right[:-1]) == [f"provenance: source.sha256: expected a line break at its end, found {right[:-1]!r}"]
    for line in (f"{digest} b", f"{digest[1:]}  b", f"{digest.upper()}  b", f"{digest}  ", "x"):
        form = f"provenance: source.sha256: expected digest, two spaces and a name, found {line!r}"
        assert found(f"{right}{line}\n") == [form]
        assert found(f"{right}{line}") == [form]
    assert found("") == [f"provenance: {source.name}: expected {digest}, found none"]


def test_a_name_that_cannot_be_printed_is_escaped(source: Path) -> None:
    lines = f"{hashlib.sha256(source.read_bytes()).hexdigest()}  {source.name}\n{ZEROS}  a\tb\n"
    findings = provenance_findings({"source.kind": "llama2c", "source.sha256": lines}, open_source(source))
    assert findings == [f"provenance: 'a\\tb': expected no such file, found {ZEROS}"]


def test_of_another_kind_only_files_of_both_are_compared(source: Path) -> None:
    opened = open_source(source)
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    kind = (
        "provenance: source.kind: expected llama2c, as this source is, found 'meta': verify the file against the "
        "source that it names"
    )
    for lines, more in (
        ("", []),
        (f"{ZEROS}  other\n", []),
        (f"{digest}  {source.name}\n", []),
        (f"{ZEROS}  {source.name}\n", [f"provenance: {source.name}: expected {digest}, found {ZEROS}"]),
    ):
        found = provenance_findings({"source.kind": "meta", "source.sha256": lines}, opened)
        assert found == [kind, *more]


def test_what_a_file_says_of_memory_is_unproven_by_a_source_of_another_kind_alone() -> None:
    memory, other = (SimpleNamespace(kind=kind) for kind in ("memory", "llama2c"))
    metadata = {"source.kind": "memory", "b": "x", "a": "x", "tokenizer.sha256": "x", "source.sha256": "x"}
    assert not_judged(metadata, other) == ["a", "b", "source.kind"]  # type: ignore[arg-type]
    assert not_judged(metadata, memory) == ["a", "b"]  # type: ignore[arg-type]
    assert not_judged({"source.kind": "llama2c"}, other) == []  # type: ignore[arg-type]
