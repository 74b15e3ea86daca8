"""An engine's process is given its input, and what it gives back is checked before anything else."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest

from verify.engine.command import Engine, EngineFailedError
from verify.errors import CannotJudgeError

TOKENS = np.arange(3)


def program(directory: Path, text: str) -> Engine:
    path = directory / "engine with space.py"
    path.write_text(f"import sys\nfile, tokens, logits = sys.argv[1:]\n{text}\n")
    return Engine(command=f"{sys.executable} -S '{path}' {{file}} {{tokens}} {{logits}}", seconds=30)


def test_tokens_go_in_as_int32_and_logits_come_back_as_float32(tmp_path: Path) -> None:
    engine = program(
        tmp_path,
        "import array\nids = array.array('i', open(tokens, 'rb').read())\n"
        "out = array.array('f', [id + len(file) for id in ids for _ in range(2)])\n"
        "open(logits, 'wb').write(out.tobytes())",
    )
    engine.check()
    file = str(tmp_path / "model.bin")
    (found,) = engine.logits(file, [TOKENS], 2)
    assert found.dtype == np.float32
    assert found.tolist() == [[token + len(file)] * 2 for token in TOKENS]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("print('no such tensor'); sys.exit(4)", "it ended with status 4: no such tensor"),
        ("print('first\\n\\x1b[2J last')", r"it wrote no logits: \?\[2J last"),
        ("import os; os.kill(os.getpid(), 11)", "it was ended by SIGSEGV"),
        ("open(logits, 'wb').write(bytes(7))", r"expected 3 x 2 float32 logits \(24 bytes\), found 7 bytes"),
    ],
)
def test_every_other_end_is_a_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(EngineFailedError, match=f"^{reason}$"):
        program(tmp_path, text).logits("x", [TOKENS], 2)


def test_a_command_gets_several_sequences_by_the_lengths_of_each(tmp_path: Path) -> None:
    path = tmp_path / "engine.py"
    path.write_text(
        "import sys, array\nfile, tokens, logits, lengths = sys.argv[1:]\n"
        "ids, parts = (array.array('i', open(name, 'rb').read()) for name in (tokens, lengths))\n"
        "places = [(part, place) for part, length in enumerate(parts) for place in range(length)]\n"
        "out = array.array('f', [100 * part + 10 * place + id for (part, place), id in zip(places, ids)])\n"
        "open(logits, 'wb').write(out.tobytes())"
    )
    words = f"{sys.executable} -S {path} {{file}} {{tokens}} {{logits}}"
    engine = Engine(command=f"{words} {{lengths}}", seconds=30)
    assert engine.runs_sequences
    assert not Engine(command=words).runs_sequences
    found = engine.logits("x", [TOKENS, TOKENS[:1], TOKENS[1:]], 1)
    assert [part.ravel().tolist() for part in found] == [[0, 11, 22], [100], [201, 212]]


def test_the_digest_is_that_of_the_program(tmp_path: Path) -> None:
    engine = program(tmp_path, "")
    assert engine.program() == Path(sys.executable)
    assert engine.digest() == hashlib.sha256(Path(sys.executable).read_bytes()).hexdigest()
    with pytest.raises(CannotJudgeError, match=r"none\.so: expected a readable engine, found: no such file"):
        Engine(tmp_path / "none.so").digest()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "engine: expected either a library or a command, found both or none"),
        ({"command": "x", "seconds": 0.0}, "engine timeout: expected seconds above 0, found 0"),
        ({"command": "x", "memory": 0}, "engine memory: expected bytes above 0, found 0"),
        ({"command": "x", "activations": "q4"}, "engine activations: expected fp32 or q8, found 'q4'"),
    ],
)
def test_options_without_a_meaning_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(CannotJudgeError, match=f"^{message}$"):
        Engine(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "engine command: expected a program and its arguments, found nothing"),
        ("'", "engine command: expected words that a shell can split, found: No closing quotation"),
        ("nosuchprogram {file}", "engine command: expected an executable program, found 'nosuchprogram'"),
        ("cat {file} {tokens}", "engine command: expected {logits} in it, found 'cat {file} {tokens}'"),
    ],
)
def test_commands_that_cannot_be_run_are_refused(command: str, message: str) -> None:
    with pytest.raises(CannotJudgeError) as refused:
        Engine(command=command).check()
    assert str(refused.value) == message
