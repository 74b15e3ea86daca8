"""Every example of README and docs/ runs, or at least means something to what it is written for."""

from __future__ import annotations

import contextlib
import json
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from helpers.command_line import run
from helpers.pages import DOCS, NAMES, PROGRAM, ROOT, arguments, commands, examples
from helpers.wrong_file import export_with_k_permuted_by_n_heads
from hypothesis import settings

from verify.checks.policy import load_policy
from verify.cli.commands import app
from verify.demo import CHECKPOINT, HELD_OUT_TEXT

# the commands of these need no more than what is prepared here
RUN = ("docs/policy.md",)


def having(*languages: str) -> list[str]:
    return [name for name in NAMES if any(example.language in languages for example in examples(ROOT / name))]


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory in which examples run, with the files that the pages take for granted."""
    shutil.copy(CHECKPOINT, tmp_path / "model.pt")
    shutil.copy(CHECKPOINT.with_name("tokenizer.model"), tmp_path)
    shutil.copy(HELD_OUT_TEXT, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def few_draws() -> Iterator[None]:
    """A page's laws are those of our tests, which try them on more models: here it counts that they run."""
    before = settings.default
    assert before is not None
    settings.register_profile("a page", before, max_examples=5)
    settings.load_profile("a page")
    yield
    settings.register_profile("before", before)
    settings.load_profile("before")


@pytest.mark.slow
@pytest.mark.usefixtures("prepared", "few_draws")
@pytest.mark.parametrize("name", having("python"))
def test_python_examples_run_one_after_the_other(name: str) -> None:
    page, namespace = ROOT / name, {"__name__": "example"}
    if name == "docs/golden-vectors.md":
        # its Python reads what its first command has written
        assert run("export", "model.pt", "model.bin", "--format", "v1").returncode == 0
        assert run(*next(commands(page))).returncode == 0
    for example in examples(page):
        if example.language == "python":
            # so that a traceback names the page and its line
            code = compile("\n" * (example.line - 1) + example.text, str(page), "exec")
            exec(code, namespace)


@pytest.mark.parametrize("name", [name for name in NAMES if any(commands(ROOT / name))])
def test_every_command_line_is_one_of_the_program(name: str) -> None:
    for words in commands(ROOT / name):
        parse(words)


def parse(words: list[str]) -> None:
    """Raises click.UsageError for an unknown command, option or a missing argument."""
    with app.make_context(PROGRAM, list(words)) as context:
        _, command, rest = app.resolve_command(context, [*context._protected_args, *context.args])
        assert command is not None
        # --help and --print-policy end there
        with contextlib.suppress(click.exceptions.Exit):
            command.make_context(command.name, rest, parent=context).close()


@pytest.mark.parametrize("name", RUN)
def test_commands_end_as_the_page_shows(name: str, prepared: Path) -> None:
    for example in examples(ROOT / name):
        if example.title:
            (prepared / example.title).write_text(example.text)
        if example.language == "console":
            shown = example.text.replace("\\\n", " ").split("$ ")[1:]
            for line, _, output in (part.partition("\n") for part in shown):
                result = run(*arguments(line))
                verdicts = [row for row in output.splitlines() if row.startswith(("PASS ", "FAIL "))]
                assert result.returncode == any(row.startswith("FAIL ") for row in verdicts), result.stderr
                for row in verdicts:
                    assert row.split(":")[0] in result.stdout


def test_the_failing_verdict_of_the_readme_is_a_real_one(prepared: Path) -> None:
    (shown,) = [part.text for part in examples(ROOT / "README.md") if "\nFAIL model.bin: " in part.text]
    line, _, output = shown.removeprefix("$ ").partition("\n")
    export_with_k_permuted_by_n_heads(prepared / "model.pt", prepared / "model.bin")
    result = run(*arguments(line))
    assert result.returncode == 1
    for row in output.splitlines():
        kept = row.removesuffix("...").rstrip()
        # a row of the table is as wide as a terminal, and cut here
        assert not kept or any(real.startswith(kept) for real in result.stdout.splitlines()), row


@pytest.mark.parametrize("name", having("json", "toml", "yaml"))
def test_data_parses(name: str) -> None:
    readers = {"json": json.loads, "toml": tomllib.loads, "yaml": yaml.safe_load}
    for example in examples(ROOT / name):
        if example.language in readers:
            assert readers[example.language](example.text)


@pytest.mark.parametrize("name", having("toml"))
def test_policies_are_policies(name: str, tmp_path: Path) -> None:
    for example in examples(ROOT / name):
        if example.language == "toml":
            (tmp_path / "policy.toml").write_text(example.text)
            for section in tomllib.loads(example.text):
                load_policy(tmp_path / "policy.toml", section)


def of_ci(key: str) -> list[dict[str, Any]]:
    """Every mapping that has that key, at any depth, in the YAML examples of docs/ci.md."""

    def within(value: object) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            yield from [value] if key in value else []
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            yield from within(item)

    texts = [example.text for example in examples(DOCS / "ci.md") if example.language == "yaml"]
    return [found for text in texts for found in within(yaml.safe_load(text))]


def test_ci_examples_give_the_action_what_it_takes() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    page = (DOCS / "ci.md").read_text()
    gates = [step for step in of_ci("uses") if PROGRAM in step["uses"]]
    assert len(gates) > 1
    for gate in gates:
        assert set(gate["with"]) <= set(action["inputs"])
    for name in (*action["inputs"], *action["outputs"]):
        assert f"`{name}`" in page, name


def test_ci_examples_name_the_hook_and_give_it_a_command() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    (repository,) = of_ci("hooks")
    for used in repository["hooks"]:
        assert used["id"] == hook["id"]
        parse([*hook["entry"].split()[1:], *used["args"]])
