"""generate --chat: the file's own template, turn after turn."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from helpers.command_line import refused, run
from helpers.terminal import CTRL_C, CTRL_D, converse
from helpers.tokenizer_models import with_tokenizer

import exporter
import reader_c
from verify.cli.chatting import Conversation, tokenizer_with_template
from verify.errors import CannotJudgeError
from verify.system.printable import printable


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = with_tokenizer(tmp_path_factory.mktemp("chat") / "hf", "gpt2")
    out = source.parent / "model.bin"
    exporter.export(exporter.open_checkpoint(source), out, format="v3")
    return out


def by_hand(model: reader_c.Model, text: str, room: int, ends: tuple[int, ...] = ()) -> list[int]:
    """Return the most probable tokens after a text, until an end id, all fed at once each time."""
    words = reader_c.Tokenizer.from_block(model.tokenizer_block, model.config.vocab_size)
    ids = words.encode(text, bos=False, eos=False)
    answer: list[int] = []
    while len(ids) + len(answer) <= room:
        with model.session(len(ids) + len(answer)) as session:
            token = int(session.forward([*ids, *answer])[-1].argmax())
        if token in (*words.eos_ids, *ends):
            break
        answer.append(token)
    return answer


def test_an_answer_continues_the_rendered_conversation(file: Path) -> None:
    result = run("generate", file, "Who?", "--chat", "--temperature", 0, "--steps", 40, "--quiet")
    with reader_c.open(file) as model:
        words = tokenizer_with_template(model, file)
        ids = by_hand(model, "<|im_start|>user\nWho?<|im_end|>\n<|im_start|>assistant\n", 40)
    assert (result.returncode, len(ids) > 10) == (0, True)
    # what is no file's or pipe's bytes is written as on a terminal
    expected = words.decode(ids, previous=0).decode(errors="replace")
    assert result.stdout == "".join(c if c in "\n\t" else printable(c) for c in f"{expected}\n")


def test_a_second_turn_follows_the_first_answer(file: Path) -> None:
    with reader_c.open(file) as model:
        words = tokenizer_with_template(model, file)
        asked = "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n"
        # whatever comes fourth ends an answer, so that a second one has room
        ends = (by_hand(model, asked, 100)[3],)
        words.eos_ids = ends
        talk = Conversation(model, words, reader_c.Sampler(0.0, 0.9, 1), steps=0, threads=1)
        one, two = (b"".join(talk.answer(said)) for said in "AB")
        first = by_hand(model, asked, 100, ends)
        text = words.decode(first, previous=0).decode(errors="replace")
        again = f"{asked}{text}<|im_end|>\n<|im_start|>user\nB<|im_end|>\n<|im_start|>assistant\n"
        second = by_hand(model, again, model.config.max_seq_len, ends)
        talk.close()
    assert len(first) <= 3
    assert (one, two) == (words.decode(first, previous=0), words.decode(second, previous=0))


@pytest.fixture(scope="module")
def short(file: Path) -> tuple[Path, str]:
    """Return a file in which the fourth token of an answer to A ends it, and the answer."""
    with reader_c.open(file) as model:
        words = tokenizer_with_template(model, file)
        tokens = by_hand(model, "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n", 100)
    ends = file.parent / "hf" / "generation_config.json"
    before = ends.read_text()
    ends.write_text(json.dumps({"eos_token_id": [*words.eos_ids, tokens[3]]}))
    out = file.with_name("short.bin")
    exporter.export(exporter.open_checkpoint(ends.parent), out, format="v3")
    ends.write_text(before)
    answer = words.decode(tokens[: tokens.index(tokens[3])], previous=0).decode(errors="replace")
    return out, "".join(c if c in "\n\t" else printable(c) for c in answer)


@pytest.mark.slow
def test_a_person_at_a_terminal_has_two_turns_and_ends_with_ctrl_d(short: tuple[Path, str]) -> None:
    path, answer = short
    again = [("> ", "A\n"), ("> ", CTRL_D)]
    shown, status = converse(["generate", path, "A", "--chat", "--temperature", 0, "--seed", 1], again)
    lines = shown.split("\r\n")
    assert status == 0
    assert shown.startswith(f"{answer}\n".replace("\n", "\r\n") + "> A\r\n")
    assert (lines[-3], lines[-1]) == ("> ", "")
    assert re.fullmatch(r"\d+ tokens, \d+\.\d tokens a second, seed 1", lines[-2])


@pytest.mark.slow
@pytest.mark.parametrize("waits", [True, False], ids=["at the sign", "within an answer"])
def test_ctrl_c_ends_a_conversation_in_one_line(file: Path, short: tuple[Path, str], waits: bool) -> None:
    path, answer = short
    typed = [("> ", CTRL_C)] if waits else [(answer[0] if answer else "", CTRL_C)]
    shown, status = converse(["generate", path if waits else file, "A", "--chat", "--temperature", 0], typed)
    assert status == 130
    assert shown.split("\r\n")[-2:] == ["error: interrupted", ""]
    assert "Traceback" not in shown


def test_a_conversation_that_does_not_fit_says_which_limit_it_meets(file: Path) -> None:
    long = "word " * 200
    refused(run("generate", file, long, "--chat"), f"{file}: max_seq_len: expected at least ", "found 200: begin a")
    refused(run("generate", file, long, "--chat", "--steps", 9), f"{file}: --steps: expected at least ", "found 9: ")


def test_a_file_without_a_template_is_refused_in_one_line(file: Path, tmp_path: Path) -> None:
    plain = tmp_path / "model.bin"
    exporter.export(exporter.open_checkpoint(file), plain, format="v3", tokenizer_block=False)
    refused(
        run("generate", plain, "Who?", "--chat"),
        f"{plain}: --chat: expected a file with a chat template, found none: export with --format v3 from a source",
    )


def test_options_that_chat_cannot_take_are_refused_in_one_line(file: Path) -> None:
    refused(run("generate", file, "--chat"), "--chat: expected PROMPT, found none")
    refused(run("generate", file, "x", "--chat", "--steps", -1), "--steps: expected 0 or more, found -1")
    refused(
        run("generate", file, "x", "--chat", "--tokenizer", file),
        "--tokenizer: expected none beside --chat, which takes the one in FILE, found one",
    )
    refused(run("generate", file, "x", "--chat", "--steps", 3), "--steps: expected at least ", "found 3: begin a new")


def test_a_template_that_refuses_says_so(file: Path) -> None:
    with reader_c.open(file) as model:
        words = tokenizer_with_template(model, file)
        words.chat_template = "{{ raise_exception('not today') }}"
        talk = Conversation(model, words, reader_c.Sampler(0.0, 0.9, 1), steps=0, threads=1)
        with pytest.raises(
            CannotJudgeError, match=r": chat template: expected the text of a conversation, found none"
        ):
            list(talk.answer("x"))
        talk.close()
