"""Render a chat template as transformers does: a separate program, which imports nothing of this package.

    python -I render_template.py SECONDS MEMORY < {"template", "variables"} as JSON > {"text"} or {"error"} as JSON

A template is a program of somebody else's. It runs in jinja2's sandbox for immutable values, and this process has
limits, because a sandbox does not stop a loop.
"""

from __future__ import annotations

import json
import resource
import sys
from datetime import datetime
from typing import Any, NoReturn

from jinja2.ext import Extension, loopcontrols
from jinja2.nodes import Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

# Characters of a rendered text.
_MOST_TEXT = 1 << 24


class _Generation(Extension):
    """The tag by which a template marks what the assistant says; the text is the same without it."""

    tags = {"generation"}  # noqa: RUF012  # as jinja2 declares it

    def parse(self, parser: Parser) -> list[Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _limit(seconds: int, memory: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _render(template: str, variables: dict[str, Any]) -> str:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.filters["tojson"] = _to_json
    environment.globals.update(raise_exception=_refuse, strftime_now=_now)
    parts, size = [], 0
    for part in environment.from_string(template).generate(**variables):
        size += len(part)
        if size > _MOST_TEXT:
            raise ValueError(f"more than {_MOST_TEXT} characters")
        parts.append(part)
    return "".join(parts)


def _to_json(value: Any, ensure_ascii: bool = False, **how: Any) -> str:
    # jinja's own filter escapes what HTML needs escaped
    return json.dumps(value, ensure_ascii=ensure_ascii, **how)


def _refuse(message: object) -> NoReturn:
    raise ValueError(str(message))


def _now(form: str) -> str:
    return datetime.now().strftime(form)  # as transformers does it


def main() -> None:
    _, seconds, memory = sys.argv
    _limit(int(seconds), int(memory))
    given = json.load(sys.stdin)
    try:
        answer = {"text": _render(given["template"], given["variables"])}
    except Exception as error:  # whatever a template raises
        answer = {"error": f"{type(error).__name__}: {error}"}
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
