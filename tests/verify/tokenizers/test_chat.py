"""Chat templates: the text that transformers renders, in a process that no template can keep."""

from __future__ import annotations

import pytest
from helpers.tokenizer_families import TEMPLATE
from transformers.utils.chat_template_utils import render_jinja_template

from verify.tokenizers.chat import FIXTURES, TemplateError, render

TEMPLATES = (
    TEMPLATE,
    "{% for m in messages %}{% if m.role == 'system' %}{% continue %}{% endif %}\n  {{ bos_token + m.content }}\n"
    "{% endfor %}{{ {'a': '\u00e9<'} | tojson }}",
    "{% for m in messages %}{% generation %}{{ m['content'] | trim }}{% endgeneration %}{{ eos_token }}{% endfor %}",
)


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("number", range(len(FIXTURES)))
def test_a_conversation_is_what_transformers_renders(template: str, number: int) -> None:
    messages, answer = FIXTURES[number]
    [expected], _ = render_jinja_template(
        [list(messages)], chat_template=template, bos_token="<s>", eos_token="</s>", add_generation_prompt=answer
    )
    assert render(template, messages, bos="<s>", eos="</s>", answer=answer) == expected


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception('no system') }}", r"^ValueError: no system$"),
        ("{% for %}", r"^TemplateSyntaxError: "),
        ("{{ ''.__class__.__mro__ }}", r"^SecurityError: "),
        ("{{ messages.append(1) }}", r"^SecurityError: "),
        ("{{ 'a' * 20000000 }}", r"^ValueError: more than 16777216 characters$"),
        ("{{ 'a' * 20000000000 }}", r"^MemoryError: $|^MemoryError:"),
    ],
)
def test_a_template_that_gives_no_text_says_why(template: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason):
        render(template, FIXTURES[0][0], bos="", eos="")


@pytest.mark.slow
def test_a_template_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verify.tokenizers.chat._SECONDS", 1)
    loop = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
    with pytest.raises(TemplateError, match=r"^no text within 1 s of computing and 1024 MiB of memory$"):
        render(loop, FIXTURES[0][0], bos="", eos="")
