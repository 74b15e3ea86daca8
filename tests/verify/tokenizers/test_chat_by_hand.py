"""A chat template's process: what it is asked, which limits it has, and how its answer and its failures are read."""

from __future__ import annotations

import json
import resource
import subprocess
from typing import Any

import pytest

from verify.tokenizers import chat, render_template
from verify.tokenizers.chat import FIXTURES, TemplateError, render


def answered(monkeypatch: pytest.MonkeyPatch, ended: dict[str, Any] | int | Exception) -> list[dict[str, Any]]:
    """Let every process end so; return what each was given."""
    given: list[dict[str, Any]] = []

    def run(command: list[str], *, input: str, timeout: float, **_how: Any) -> subprocess.CompletedProcess[str]:  # noqa: A002
        given.append({"command": command, "timeout": timeout, **json.loads(input)})
        if isinstance(ended, Exception):
            raise ended
        status = ended if isinstance(ended, int) else 0
        return subprocess.CompletedProcess(command, status, json.dumps(ended), "")

    monkeypatch.setattr(subprocess, "run", run)
    return given


def test_an_answer_follows_where_the_user_spoke_last() -> None:
    assert [answer for _, answer in FIXTURES] == [messages[-1]["role"] == "user" for messages, _ in FIXTURES]


def test_an_answer_is_to_follow_unless_the_caller_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    given = answered(monkeypatch, {"text": "x"})
    assert render("{{ x }}", FIXTURES[0][0], bos="", eos="") == "x"
    render("{{ x }}", FIXTURES[0][0], bos="", eos="", answer=False)
    assert [one["variables"]["add_generation_prompt"] for one in given] == [True, False]
    assert [one["timeout"] for one in given] == [60, 60]
    assert given[0]["command"][-2:] == ["10", str(1 << 30)]


@pytest.mark.parametrize(
    ("ended", "message"),
    [
        (1, "no text within 10 s of computing and 1024 MiB of memory"),
        (subprocess.TimeoutExpired("x", 60), "no text within 60 s"),
        ({"error": "ValueError: " + "x" * 300}, "ValueError: " + "x" * 188),
        ({"error": "ValueError: two\n  lines"}, "ValueError: two lines"),
    ],
)
def test_a_failure_is_one_line_that_says_why(
    monkeypatch: pytest.MonkeyPatch, ended: dict[str, Any] | int | Exception, message: str
) -> None:
    answered(monkeypatch, ended)
    with pytest.raises(TemplateError) as caught:
        render("", FIXTURES[0][0], bos="", eos="")
    assert str(caught.value) == message
    assert chat.rendered_or_refused("", FIXTURES[0][0], bos="", eos="", answer=True) == f"refused: {message}"


def test_the_process_limits_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda which, limit: limits.append((which, limit)))
    render_template._limit(7, 9)
    assert limits == [
        (resource.RLIMIT_CORE, (0, 0)),
        (resource.RLIMIT_CPU, (7, 7)),
        (resource.RLIMIT_AS, (9, 9)),
    ]


def test_a_text_may_have_so_many_characters_in_all_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_template, "_MOST_TEXT", 6)
    assert render_template._render("{{ 'abc' }}{{ 'def' }}", {}) == "abcdef"
    with pytest.raises(ValueError, match=r"^more than 6 characters$"):
        render_template._render("{{ 'abc' }}{{ 'defg' }}", {})


def test_lines_of_blocks_alone_leave_nothing() -> None:
    assert render_template._render("  {% if true %}\n  x\n\t{% endif %}\ny", {}) == "  x\ny"
