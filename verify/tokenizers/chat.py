"""Render a chat template for a conversation, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_PROGRAM = Path(__file__).with_name("render_template.py")
_SECONDS, _MEMORY = 10, 1 << 30
# The process may also wait for a busy machine.
_PATIENCE = 60

Message = dict[str, str]

_ASK = {"role": "user", "content": "What is  a\u0301 caf\u00e9?\n\nSay <b>it</b> & 'why'."}
_ANSWER = {"role": "assistant", "content": " A place.\n"}
_SYSTEM = {"role": "system", "content": "Be brief."}
# Conversations, and whether the assistant's next answer is to follow.
FIXTURES: tuple[tuple[tuple[Message, ...], bool], ...] = (
    ((_ASK,), True),
    ((_ASK, _ANSWER), False),
    ((_SYSTEM, _ASK), True),
    ((_SYSTEM, _ASK, _ANSWER, {"role": "user", "content": ""}), True),
)


class TemplateError(Exception):
    """A template gives no text; the message says why, in one line."""


def render(template: str, messages: Sequence[Message], *, bos: str, eos: str, answer: bool = True) -> str:
    """Return the text of a conversation. answer: whether the assistant's next answer is to follow.

    Raises TemplateError for a template that is none, that refuses the conversation, or that takes too long.
    """
    variables = {
        "messages": list(messages),
        "bos_token": bos,
        "eos_token": eos,
        "add_generation_prompt": answer,
        "tools": None,
        "documents": None,
    }
    command = [sys.executable, "-I", str(_PROGRAM), str(_SECONDS), str(_MEMORY)]
    given = json.dumps({"template": template, "variables": variables})
    try:
        ended = subprocess.run(command, input=given, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise TemplateError(f"no text within {_PATIENCE} s") from error
    if ended.returncode:
        raise TemplateError(f"no text within {_SECONDS} s of computing and {_MEMORY >> 20} MiB of memory")
    said = json.loads(ended.stdout)
    if "error" in said:
        raise TemplateError(" ".join(said["error"].split())[:200])
    return str(said["text"])


def rendered_or_refused(template: str, messages: Sequence[Message], *, bos: str, eos: str, answer: bool) -> str:
    """Return the text, or the reason why there is none: two templates that refuse alike are alike."""
    try:
        return render(template, messages, bos=bos, eos=eos, answer=answer)
    except TemplateError as error:
        return f"refused: {error}"
