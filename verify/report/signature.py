"""Sign the files of a report with a private key, and check such a signature, by OpenSSF's model-signing.

The signature, a Sigstore bundle, covers every file of the report. It covers the judged file too, because report.json
holds its digest. The tool's own command line checks the same:

    model_signing verify key model.bin.report --signature model.bin.report/report.sig --public_key key.pub
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verify.errors import CannotJudgeError
from verify.report.files import NAMES, SIGNATURE
from verify.report.saved import SavedReport
from verify.system.optional_imports import one_line, wanted
from verify.system.reading import check_given, read_given

# A bundle about the five files has 2 KB.
_MOST_BYTES = 1 << 20


class SigningKey:
    """An elliptic-curve private key, in PEM and without a passphrase. Raises CannotJudgeError for anything else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        signing, hashing = _library("signing"), _library("hashing")
        _expect_readable(path, "a private key")
        try:
            self._signer = signing.Config().use_elliptic_key_signer(private_key=path)
        except Exception as error:  # the library's errors have no common class
            wanted_key = "an elliptic-curve private key in PEM without a passphrase"
            raise CannotJudgeError(f"{path}: expected {wanted_key}, found: {one_line(error)}") from error
        self._signer.set_hashing_config(hashing.Config().set_ignored_paths(paths=(), ignore_git_paths=False))

    def sign(self, contents: Mapping[str, bytes], name: str) -> bytes:
        """Return the signature of a report's files. name: of their directory, which only informs."""
        with tempfile.TemporaryDirectory() as room:
            directory, signature = _write(contents, Path(room) / name), Path(room) / f"{name}.sig"
            self._signer.sign(directory, signature)
            return signature.read_bytes()


def expect_signed(saved: SavedReport, key: Path) -> str:
    """Return the digest of the public key by which a saved report and the files beside it are signed.

    That is the sha256 of the key's PEM. Raises CannotJudgeError without a good signature.
    """
    verifying = _library("verifying")
    _expect_readable(key, "a public key")
    try:
        verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)
    except Exception as error:  # the library's errors have no common class
        raise CannotJudgeError(
            f"{key}: expected an elliptic-curve public key in PEM, found: {one_line(error)}"
        ) from error
    place = saved.path.parent / SIGNATURE
    try:
        signature = read_given(place, _MOST_BYTES)
    except OSError as error:
        raise CannotJudgeError(
            f"{place}: expected a signature of {saved.path}, found: {(error.strerror or '').lower()}"
        ) from error
    contents = _beside(saved)
    with tempfile.TemporaryDirectory() as room:
        directory, copy = _write(contents, Path(room) / "report"), Path(room) / SIGNATURE
        copy.write_bytes(signature)
        try:
            # the library prints a warning about signatures that its older versions made
            with contextlib.redirect_stdout(io.StringIO()):
                verifier.verify(directory, copy)
            digests, signer = _said(signature)
        except Exception as error:  # as above
            reason = _reason(error, signature, contents)
            raise CannotJudgeError(
                f"{place}: expected a signature of {saved.path} by {key}, found: {reason}"
            ) from error
    if NAMES[0] not in digests:
        raise CannotJudgeError(f"{place}: expected a signature of {saved.path}, found one of other files")
    return signer


def _library(module: str) -> Any:
    return wanted(f"model_signing.{module}", "to sign reports and to check signatures", extra="sign")


def _expect_readable(path: Path, what: str) -> None:
    try:
        check_given(path)
        if path.is_dir():
            raise IsADirectoryError(None, "is a directory")
    except OSError as error:
        raise CannotJudgeError(f"{path}: expected {what}, found: {(error.strerror or '').lower()}") from error


def _beside(saved: SavedReport) -> dict[str, bytes]:
    """Return the files of a saved report. Raises CannotJudgeError if report.json is no longer what was read."""
    contents: dict[str, bytes] = {}
    for name in NAMES:
        path = saved.path if name == NAMES[0] else saved.path.parent / name
        # a file that is missing makes the signature a bad one
        with contextlib.suppress(FileNotFoundError):
            check_given(path)
            contents[name] = path.read_bytes()
    if hashlib.sha256(contents.get(NAMES[0], b"")).hexdigest() != saved.sha256:
        raise CannotJudgeError(f"{saved.path}: expected the same bytes as before, found that they changed meanwhile")
    return contents


def _write(contents: Mapping[str, bytes], directory: Path) -> Path:
    directory.mkdir()
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    return directory


def _said(signature: bytes) -> tuple[dict[str, str], str]:
    """Return the files of a good signature with their digests, and the digest of its key. Raises ValueError."""
    bundle = json.loads(signature)
    envelope = bundle["dsseEnvelope"]
    for text in (envelope["payload"], *(each["sig"] for each in envelope["signatures"])):
        # the last character may have bits that mean nothing
        if base64.b64encode(base64.b64decode(text)).decode() != text:
            raise ValueError("base64 that is not canonical")
    signer = bundle["verificationMaterial"].get("publicKey", {}).get("hint")
    if not signer:
        raise ValueError("a signature that does not name its key: sign again, with model-signing 1.1 or newer")
    resources = json.loads(base64.b64decode(envelope["payload"]))["predicate"]["resources"]
    return {each["name"]: each["digest"] for each in resources}, signer


def _reason(error: Exception, signature: bytes, contents: Mapping[str, bytes]) -> str:
    """Say in words what the library says about a signature, which it does with objects of its own or not at all."""
    if not str(error):
        return "one by another key, or of other bytes"
    if not str(error).startswith("Signature mismatch"):
        return one_line(error)
    digests = _said(signature)[0]
    found = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    for name in sorted(digests.keys() | found.keys()):
        signed, here = digests.get(name, "no such file"), found.get(name, "no such file")
        if signed != here:
            return f"{name}: sha256: {signed} is signed, {here} stands there"
    return one_line(error)
