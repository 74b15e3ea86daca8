"""Prompts from files and from standard input: what they mean, and what is refused with which words."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from helpers.command_line import run

from verify.cli import prompts
from verify.cli.prompts import prompt_of
from verify.demo import CHECKPOINT
from verify.errors import CannotJudgeError


class _Terminal(io.TextIOWrapper):
    def isatty(self) -> bool:
        return True


def pipe(patch: pytest.MonkeyPatch, content: bytes, kind: type[io.TextIOWrapper] = io.TextIOWrapper) -> None:
    patch.setattr(sys, "stdin", kind(io.BytesIO(content)))


def saved(directory: Path, content: bytes) -> Path:
    path = directory / "prompt.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"In the beginning", "In the beginning"),
        (b"In the beginning\n", "In the beginning"),
        (b"In the\r\nbeginning\r\n", "In the\r\nbeginning"),
        # of several line ends, one
        (b"\n a \n\n", "\n a \n"),
        (b"\xef\xbb\xbfcaf\xc3\xa9", "caf\u00e9"),
        (b" ", " "),
    ],
)
def test_a_prompt_is_the_text_of_its_file_or_of_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, expected: str
) -> None:
    assert prompt_of("", saved(tmp_path, content)) == expected
    for text, file in (("-", None), ("", Path("-"))):
        pipe(monkeypatch, content)
        assert prompt_of(text, file) == expected


def test_a_typed_prompt_leaves_standard_input_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"another")
    assert [prompt_of(text, None) for text in ("In the", "", "--", "a\n")] == ["In the", "", "--", "a\n"]
    assert sys.stdin.read() == "another"


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n", b"\xef\xbb\xbf"])
def test_an_empty_prompt_is_refused(tmp_path: Path, content: bytes) -> None:
    refused("", saved(tmp_path, content), f"{tmp_path}/prompt.txt: prompt: expected a text, found none: write the")


def test_bytes_that_are_no_utf8_are_refused_where_they_stand(tmp_path: Path) -> None:
    file = saved(tmp_path, b"ab \xff\n")
    refused("", file, f"{file}: prompt: expected UTF-8, found byte 0xff at 3: convert it to UTF-8")


def refused(text: str, file: Path | None, message: str) -> None:
    with pytest.raises(CannotJudgeError) as error:
        prompt_of(text, file)
    assert str(error.value).startswith(message)


def test_what_is_no_file_of_text_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, found in (
        (".", "a directory"),
        ("fifo", "a FIFO or a device"),
        ("none", "no such file or directory"),
    ):
        file = tmp_path / name
        refused("", file, f"{file}: prompt: expected a file of text, found {found}")
    monkeypatch.setattr(prompts, "_MOST", 3)
    refused(
        "", saved(tmp_path, b"abcd"), f"{tmp_path}/prompt.txt: prompt: expected a file of text, found more than 3"
    )
    assert prompt_of("", saved(tmp_path, b"abc")) == "abc"


def test_standard_input_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe(monkeypatch, b"", _Terminal)
    refused(
        "-", None, "standard input: prompt: expected a pipe or a file, found a terminal: type the prompt as PROMPT"
    )
    monkeypatch.setattr(prompts, "_MOST", 3)
    pipe(monkeypatch, b"abcd")
    refused("-", None, "standard input: prompt: expected at most 3 bytes, found more")
    pipe(monkeypatch, b"\xff")
    refused("-", None, "standard input: prompt: expected UTF-8, found byte 0xff at 0")
    monkeypatch.setattr(sys, "stdin", None)
    refused("-", None, "standard input: prompt: expected a text, found it closed: pipe the prompt into it")


def test_two_prompts_are_refused(tmp_path: Path) -> None:
    refused("a", saved(tmp_path, b"b"), "PROMPT: expected none beside --prompt-file, found one: omit one of the two")
    with pytest.raises(CannotJudgeError, match=r"^--prompt: expected none beside --prompt-file, found one"):
        prompt_of("a", tmp_path / "prompt.txt", "--prompt")


def test_a_prompt_that_cannot_be_read_is_one_line_and_status_2(tmp_path: Path) -> None:
    result = run("generate", tmp_path / "model.bin", "--prompt-file", tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: {tmp_path}: prompt: expected a file of text, found a directory\n"


def test_certify_reads_its_prompt_from_a_file(tmp_path: Path) -> None:
    arguments = ("certify", CHECKPOINT, tmp_path / "model.bin", "--prompt-file", saved(tmp_path, b"\n"))
    message = f"error: {tmp_path}/prompt.txt: prompt: expected a text, found none: write the prompt into it\n"
    assert run(*arguments).stderr == message
    both = run(*arguments, "--prompt", "In the")
    assert both.stderr == "error: --prompt: expected none beside --prompt-file, found one: omit one of the two\n"
