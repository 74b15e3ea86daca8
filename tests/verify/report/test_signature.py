"""A signed report is good with its key and its bytes, and with no others."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.reports import passing
from helpers.signing_keys import make_keys

from verify.errors import CannotJudgeError
from verify.judge_report import judge
from verify.report.files import NAMES, SIGNATURE
from verify.report.saved import read_saved
from verify.report.signature import SigningKey, expect_signed
from verify.report_dir import write_report


@pytest.fixture
def room(tmp_path: Path) -> Path:
    """A directory with a space in its name, and two pairs of keys."""
    made = tmp_path / "a room"
    made.mkdir()
    make_keys(made, "key")
    make_keys(made, "other key")
    return made


@pytest.fixture
def saved(room: Path) -> Path:
    write_report(passing(), room / "a report", SigningKey(room / "key.pem"))
    return room / "a report" / "report.json"


def refusal(saved: Path, key: Path) -> str:
    with pytest.raises(CannotJudgeError) as caught:
        expect_signed(read_saved(saved), key)
    return str(caught.value)


def tool(verb: str, directory: Path, *options: object) -> subprocess.CompletedProcess[str]:
    """The tool's own command line."""
    command = (sys.executable, "-m", "model_signing", verb, "key", directory, "--signature", directory / SIGNATURE)
    return subprocess.run([*map(str, (*command, *options))], capture_output=True, text=True, check=False)


def test_a_signed_report_is_good_by_its_key_and_no_other(room: Path, saved: Path) -> None:
    assert {path.name for path in saved.parent.iterdir()} == {*NAMES, SIGNATURE}
    signer = expect_signed(read_saved(saved), room / "key.pub")
    report = judge(saved, public_key=room / "key.pub")
    assert report.judged_again is not None
    assert report.judged_again.public_key_sha256 == signer
    other = room / "other key.pub"
    assert refusal(saved, other).startswith(
        f"{saved.parent / SIGNATURE}: expected a signature of {saved} by {other}, found: Key mismatch:"
    )


@pytest.mark.slow
def test_the_tool_s_own_command_line_checks_the_same(room: Path, saved: Path) -> None:
    result = tool("verify", saved.parent, "--public_key", room / "key.pub")
    assert (result.returncode, result.stdout) == (0, "Verification succeeded\n")
    flip(saved, 100)
    assert tool("verify", saved.parent, "--public_key", room / "key.pub").returncode == 1


def flip(path: Path, at: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1 << bit
    path.write_bytes(content)


@pytest.mark.parametrize("name", NAMES[1:])
def test_one_bit_of_any_file_of_the_report_makes_the_signature_bad(room: Path, saved: Path, name: str) -> None:
    flip(saved.with_name(name), -2)
    message = refusal(saved, room / "key.pub")
    start = (
        f"{saved.parent / SIGNATURE}: expected a signature of {saved} by {room / 'key.pub'}, found: {name}: sha256: "
    )
    assert message.startswith(start)
    assert message.endswith(" stands there")


def test_one_bit_of_report_json_makes_the_signature_bad(room: Path, saved: Path) -> None:
    """Also where its own digest does not show it, as in a space between two keys."""
    saved.write_bytes(saved.read_bytes().replace(b"\n  ", b"\n\t ", 1))
    assert "found: report.json: sha256: " in refusal(saved, room / "key.pub")
    assert judge(saved).passed


@pytest.mark.slow
def test_no_bit_of_the_signature_is_idle(room: Path, saved: Path) -> None:
    place = saved.parent / SIGNATURE
    good = place.read_bytes()
    read = read_saved(saved)
    # every byte once, another bit each
    for at in range(len(good)):
        flip(place, at, at % 7)
        with pytest.raises(CannotJudgeError):
            expect_signed(read, room / "key.pub")
        place.write_bytes(good)
    assert expect_signed(read, room / "key.pub")


def test_bits_that_base64_ignores_are_not_idle_either(room: Path, saved: Path) -> None:
    """Before its "=" a text has two or four bits that decode to nothing."""
    place = saved.parent / SIGNATURE
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def padded() -> str:
        """A signature has 70 to 72 bytes; two in three need padding."""
        while not (text := json.loads(place.read_text())["dsseEnvelope"]["signatures"][0]["sig"]).endswith("="):
            write_report(passing(), saved.parent, SigningKey(room / "key.pem"))
        return str(text)

    text = padded()
    last = text.rstrip("=")[-1]
    idle = text.replace(f"{last}=", f"{letters[letters.index(last) ^ 1]}=")
    assert base64.b64decode(idle) == base64.b64decode(text) != b""
    place.write_text(place.read_text().replace(text, idle))
    assert refusal(saved, room / "key.pub").endswith("found: base64 that is not canonical")


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda place: place.unlink(), "no such file or directory"),
        (lambda place: place.write_bytes(b""), "Expecting value: line 1 column 1 (char 0)"),
        (lambda place: place.write_bytes(b"[]"), "list indices must be integers or slices, not str"),
        (lambda place: place.write_bytes(b" " * (1 << 20 | 1)), "more than 1048576 bytes"),
        (lambda place: place.with_name("summary.md").unlink(), "summary.md: sha256: "),
    ],
)
def test_a_signature_that_is_missing_or_no_signature_is_refused(
    room: Path, saved: Path, spoil: Callable[[Path], object], found: str
) -> None:
    place = saved.parent / SIGNATURE
    spoil(place)
    assert refusal(saved, room / "key.pub").split(", found: ")[1].startswith(found)


@pytest.mark.slow
def test_a_signature_of_other_files_is_none_of_the_report(room: Path, saved: Path) -> None:
    """By the same key, with report.json left out: the tool itself finds such a signature good."""
    tool("sign", saved.parent, "--private_key", room / "key.pem", "--ignore-paths", saved)
    assert tool("verify", saved.parent, "--public_key", room / "key.pub").returncode == 0
    assert refusal(saved, room / "key.pub").endswith("found one of other files")


@pytest.mark.slow
def test_a_report_that_was_signed_with_the_tool_s_own_command_line_is_good(room: Path) -> None:
    write_report(passing(), room / "r")
    command = (
        sys.executable,
        "-m",
        "model_signing",
        "sign",
        "key",
        room / "r",
        "--signature",
        room / "r" / SIGNATURE,
    )
    subprocess.run([*command, "--private_key", room / "key.pem"], check=True, capture_output=True)
    assert expect_signed(read_saved(room / "r" / "report.json"), room / "key.pub")


def test_keys_that_are_none_are_refused(room: Path) -> None:
    make_keys(room, "rsa", curve=None)
    make_keys(room, "locked", passphrase="secret")
    wanted = "expected an elliptic-curve private key in PEM without a passphrase, found: "
    for name in ("key.pub", "rsa.pem", "locked.pem"):
        with pytest.raises(CannotJudgeError) as caught:
            SigningKey(room / name)
        assert str(caught.value).startswith(f"{room / name}: {wanted}")
    for path, found in ((room / "none.pem", "no such file or directory"), (room, "is a directory")):
        with pytest.raises(CannotJudgeError) as caught:
            SigningKey(path)
        assert str(caught.value) == f"{path}: expected a private key, found: {found}"
    write_report(passing(), room / "r")
    saved = room / "r" / "report.json"
    assert refusal(saved, room / "key.pem").startswith(
        f"{room / 'key.pem'}: expected an elliptic-curve public key in PEM, found: "
    )
    assert refusal(saved, room / "none.pub") == (
        f"{room / 'none.pub'}: expected a public key, found: no such file or directory"
    )


def test_without_the_extra_one_line_says_which(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == "model_signing":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "model_signing", None)
    with pytest.raises(CannotJudgeError) as caught:
        SigningKey(room / "key.pem")
    assert str(caught.value) == (
        "model_signing.signing: required to sign reports and to check signatures and could not be imported: "
        "pip install 'export-and-verify[sign]'"
    )


def test_a_report_without_a_key_takes_an_earlier_signature_away(saved: Path) -> None:
    write_report(passing(), saved.parent)
    assert {path.name for path in saved.parent.iterdir()} == set(NAMES)
