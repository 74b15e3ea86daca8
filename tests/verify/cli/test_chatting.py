"""generate --chat: the file's own template, turn after turn."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.command_line import refused, run
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
