"""judge REPORT.json [FILE] on the command line: whether a verdict is about a file that anybody hashed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from helpers.command_line import refused, run
from helpers.hf_targets import make
from helpers.signing_keys import make_keys

from verify.report.document import digest_of_report
from verify.report.files import NAMES, SIGNATURE

QUICK = ("--depth", "quick", "--windows", "2", "--length", "8")


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture
def saved(tmp_path: Path, source: Path, good: Path) -> Path:
    room = tmp_path / "a report"
    assert run("verify", source, good, *QUICK, "--report", room).returncode == 0
    return room / "report.json"


def test_with_its_file_a_report_is_judged_as_before(tmp_path: Path, saved: Path, good: Path) -> None:
    moved = good.rename(tmp_path / "a name of its own.bin")
    result = run("judge", saved, moved, "--report", tmp_path / "again")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-2] == f"PASS {moved}: 7 of 7 checks passed"
    assert names(tmp_path / "again") == sorted(NAMES)
    report = json.loads((tmp_path / "again" / "report.json").read_text())
    digest = hashlib.sha256(saved.read_bytes()).hexdigest()
    assert report["judged_again"] == {"file": "hashed again", "report_sha256": digest, "public_key_sha256": None}
    assert report["file"]["path"] == str(moved)
    attested = json.loads((tmp_path / "again" / "attestation.json").read_text())
    assert attested["subject"] == [
        {"name": moved.name, "digest": {"sha256": hashlib.sha256(moved.read_bytes()).hexdigest()}}
    ]
    assert {"name": "report.json that was judged again", "digest": {"sha256": digest}} in attested["predicate"][
        "configuration"
    ]
    assert all("as reported" not in (tmp_path / "again" / name).read_text() for name in NAMES)


def test_without_its_file_the_verdict_is_as_reported_and_nothing_attests_it(saved: Path) -> None:
    # where an earlier run left an attestation, and somebody a signature
    assert (saved.parent / "attestation.json").is_file()
    (saved.parent / "report.sig").write_text("{}")
    path = json.loads(saved.read_text())["file"]["path"]
    result = run("judge", saved, "--report", saved.parent)
    assert result.returncode == 0
    said = "7 of 7 checks passed; as reported: judge was given no file to hash"
    assert result.stdout.splitlines()[-2] == f"PASS {path}: {said}"
    assert names(saved.parent) == sorted({*NAMES} - {"attestation.json"})
    assert json.loads(saved.read_text())["judged_again"]["file"] == "as reported"
    assert said in (saved.parent / "summary.md").read_text()
    assert said in (saved.parent / "report.html").read_text()
    assert '<property name="file" value="as reported" />' in (saved.parent / "junit.xml").read_text()


def test_a_report_about_another_file_cannot_be_judged(tmp_path: Path, saved: Path, good: Path) -> None:
    size, digest = good.stat().st_size, hashlib.sha256(good.read_bytes()).hexdigest()
    changed = bytearray(good.read_bytes())
    changed[-1] ^= 1
    other = tmp_path / "other.bin"
    other.write_bytes(changed)
    found = hashlib.sha256(changed).hexdigest()
    what = f"as {saved} says, found"
    for content, wrong in (
        (bytes(changed), f"sha256: expected {digest}, {what} {found}"),
        (good.read_bytes() + b"\0", f"size: expected {size} bytes, {what} {size + 1} bytes"),
    ):
        other.write_bytes(content)
        result = run("judge", saved, other, "--report", tmp_path / "again")
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == f"error: {other}: {wrong}: give the file that the report is about\n"
    refused(
        run("judge", saved, tmp_path / "none.bin"),
        f"none.bin: expected the file that {saved} is about, found: no such",
    )
    refused(run("judge", saved, tmp_path), f"expected the file that {saved} is about, found: is a directory")
    assert not (tmp_path / "again").exists()


def test_a_report_about_a_directory_is_judged_with_it(tmp_path: Path) -> None:
    source, directory = make(tmp_path, "llama2c")
    assert run("verify", source, directory, *QUICK, "--report", tmp_path / "r").returncode == 0
    saved = tmp_path / "r" / "report.json"
    assert run("judge", saved, directory).stdout.splitlines()[-2] == f"PASS {directory}: 6 of 6 checks passed"
    refused(
        run("judge", saved, directory, "--report", directory), f"{directory}: expected a place for the report alone"
    )
    refused(run("judge", saved, directory, "--report", directory / "r"), "expected a place outside")
    refused(run("judge", saved, source), f"{source}: expected the directory that {saved} is about, found none")
    (directory / "README.md").write_text("new")
    digest = hashlib.sha256(b"new").hexdigest()
    refused(
        run("judge", saved, directory), f"README.md: sha256: expected no such file, as {saved} says, found {digest}"
    )
    (directory / "README.md").unlink()
    content = (directory / "config.json").read_bytes()
    (directory / "config.json").write_bytes(content + b"\n")
    digest = hashlib.sha256(content).hexdigest()
    refused(
        run("judge", saved, directory), f"config.json: sha256: expected {hashlib.sha256(content).hexdigest()}, as "
    )


def test_a_failing_report_that_was_edited_into_a_pass_is_refused_and_attests_nothing(
    tmp_path: Path, source: Path, good: Path
) -> None:
    changed = bytearray(good.read_bytes())
    changed[-40] ^= 64
    good.write_bytes(changed)
    assert run("verify", source, good, *QUICK, "--report", tmp_path / "r").returncode == 1
    saved = tmp_path / "r" / "report.json"
    document = json.loads(saved.read_text())
    worst = max(float(layer["max_error_over_bound"]) for layer in document["layers"])
    assert worst > 1
    for check in document["checks"]:
        if check["limit"] is None:
            continue
        observed = min(float(check["observed"]), check["limit"])
        utilisation = observed / check["limit"] if check["limit"] else None
        check.update(status="pass", observed=observed, utilisation=utilisation)
    document["verdict"] = "pass"
    document["digest"] = digest_of_report(document)
    saved.write_text(json.dumps(document, indent=2) + "\n")
    for file in ((), (good,)):
        result = run("judge", saved, *file, "--report", tmp_path / "again")
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr == (
            f"error: {saved}: checks: operations: observed: expected {worst:.9g}, the largest of `layers`, found 1: "
            "the report contradicts itself\n"
        )
    assert not (tmp_path / "again").exists()


def test_a_report_that_is_judged_again_replaces_neither_the_file_nor_a_policy(saved: Path, good: Path) -> None:
    there = good.rename(saved.parent / "attestation.json")
    refused(run("judge", saved, there, "--report", saved.parent), "attestation.json: expected a place for the report")


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    room = tmp_path / "my keys"
    room.mkdir()
    make_keys(room, "mine")
    make_keys(room, "another")
    return room


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_signed_release_is_good_until_a_bit_of_it_changes(tmp_path: Path, source: Path, keys: Path) -> None:
    out, mine = tmp_path / "the file.bin", keys / "mine.pub"
    command = ("release", source, out, "--format", "v2", *QUICK, "--overwrite")
    assert run(*command, "--sign-key", keys / "mine.pem").returncode == 0
    reports = tmp_path / "the file.bin.report"
    saved = reports / "report.json"
    assert names(reports) == sorted((*NAMES, SIGNATURE))
    good = ("judge", saved, out, "--public-key", mine)
    result = run(*good, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    signer = json.loads(result.stdout)["judged_again"]
    assert signer["file"] == "hashed again"
    # what sha256sum says of the key that openssl wrote
    digest = hashlib.sha256(mine.read_bytes()).hexdigest()
    assert signer["public_key_sha256"] == digest
    result = run(*good, "--report", tmp_path / "again")
    assert f"signature: good, by the key with sha256 {digest}" in result.stdout.splitlines()
    assert digest in (tmp_path / "again" / "report.html").read_text()
    place = reports / SIGNATURE
    start = f"{place}: expected a signature of {saved} by"
    refused(run("judge", saved, out, "--public-key", keys / "another.pub"), start, "found: Key mismatch")
    for path, words in ((out, f"{out}: sha256: expected"), (place, start), (reports / "report.html", start)):
        content = path.read_bytes()
        flip(path)
        refused(run(*good, "--report", tmp_path / "r"), words)
        assert not (tmp_path / "r").exists()
        path.write_bytes(content)
    assert run(*good).returncode == 0
    # without the key, the next release has no signature, and the earlier one does not stay beside its report
    assert run(*command).returncode == 0
    assert names(reports) == sorted(NAMES)
    refused(run(*good), f"{place}: expected a signature of {saved}, found: no such file or directory")


def test_a_forged_report_is_refused_by_its_signature_alone(saved: Path, good: Path, keys: Path) -> None:
    """Where every number fits, as after a forgery with care, only the signature shows it."""
    assert run("judge", saved, good, "--report", saved.parent, "--sign-key", keys / "mine.pem").returncode == 0
    document = json.loads(saved.read_text())
    document["environment"]["cpu"] = "another"
    document["digest"] = digest_of_report(document)
    saved.write_text(json.dumps(document, indent=2) + "\n")
    assert run("judge", saved, good).returncode == 0
    refused(run("judge", saved, good, "--public-key", keys / "mine.pub"), "found: report.json: sha256: ")


def test_a_key_is_refused_before_anything_is_judged(
    tmp_path: Path, source: Path, good: Path, saved: Path, keys: Path
) -> None:
    mine = keys / "mine.pem"
    refused(run("verify", source, good, "--sign-key", mine), "--sign-key: expected --report beside it, found none")
    refused(
        run("judge", saved, "--report", tmp_path / "r", "--sign-key", mine),
        "--sign-key: expected FILE beside it, found none: a file as reported is not signed",
    )
    for name, command in (("verify", (good,)), ("release", (tmp_path / "new.bin", "--format", "v2"))):
        options = (*QUICK, "--report", tmp_path / "r", "--sign-key")
        refused(run(name, source, *command, *options, keys / "mine.pub"), "expected an elliptic-curve private key")
        there = tmp_path / "r" / SIGNATURE
        there.parent.mkdir()
        mine.rename(there)
        refused(run(name, source, *command, *options, there), f"{there}: expected a place for the report alone")
        there.rename(mine)
        there.parent.rmdir()
