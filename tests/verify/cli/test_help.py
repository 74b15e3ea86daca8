"""Help: groups in their order, choices that are those of the code, and any width."""

from __future__ import annotations

import re

import click
import pytest
from helpers.command_line import run

from verify.cli import options
from verify.cli.commands import app

GROUPS = ["Source", "Format", "Evidence", "Judgement", "Engine", "Resources", "Output", "Help"]
# of the commands about words alone
TEXT_GROUP = "Text"


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_the_options_of_a_release_stand_in_groups(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = run("release", flag)
    assert result.returncode == 0
    assert re.findall(r"^(\w+):$", result.stdout, re.MULTILINE) == GROUPS
    assert re.search(r"^ +\* +--format v0\|v1\|v1-fp32\|v2\|v3\|ajc1\|hf ", result.stdout, re.MULTILINE)
    assert "--depth quick|standard|full " in result.stdout
    assert "--engine-command" in result.stdout


def test_every_option_has_a_group_and_a_description() -> None:
    for command in app.commands.values():
        for parameter in command.params:
            assert parameter.help, (command.name, parameter.name)
            if parameter.param_type_name == "option":
                assert parameter.panel in [*GROUPS, TEXT_GROUP], (command.name, parameter.name)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("command", [(), *((name,) for name in app.commands)], ids=" ".join)
def test_help_fits_any_width(command: tuple[str, ...], width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    lines = run(*command, "--help").stdout.splitlines()
    # an example is to be copied: it is never wrapped
    assert not [line for line in lines if len(line) > width and not line.startswith(("Example: ", "Exit status: "))]
    assert not [line for line in lines if line != line.rstrip()]
    assert [line for line in lines if line.startswith("Example: export-and-verify")]


@pytest.mark.parametrize("name", app.commands)
def test_no_name_is_broken_at_80_columns(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    begun = [line.split() for line in run(name, "--help").stdout.splitlines() if line.startswith("  ")]
    shown = {word for words in begun for word in words[:3]}
    for parameter in app.commands[name].params:
        names = parameter.opts if parameter.param_type_name == "option" else [str(parameter.name).upper()]
        both = "/".join([*names, *parameter.secondary_opts]) if parameter.secondary_opts else None
        assert not {both or each for each in names} - shown, parameter.name


def test_the_choices_are_those_of_the_code() -> None:
    from exporter.write import FORMATS
    from verify.evidence.depth import DEPTHS
    from verify.sources import KINDS

    assert options.FORMATS == FORMATS
    assert options.KINDS == KINDS
    assert tuple(DEPTHS) == options.DEPTHS


def test_v_prints_the_version() -> None:
    assert run("-V").stdout == run("--version").stdout
    assert run("-V").stdout.startswith("export-and-verify ")


def test_every_page_of_the_documentation_can_be_printed() -> None:
    listed = run("docs").stdout.splitlines()
    assert len(listed) > 15
    for line in listed:
        name = line.split()[0]
        assert run("docs", name).stdout.startswith("# ")
        assert run("docs", f"docs/{name}.md").returncode == 0


@pytest.mark.parametrize("name", app.commands)
def test_the_site_s_reference_has_every_option(name: str) -> None:
    """As mkdocs-click reads a command: through click's own lists of options."""
    command = app.commands[name]
    context = command.context_class(command, info_name=name, **command.context_settings)
    formatter = context.make_formatter()
    click.Command.format_options(command, context, formatter)
    lines = formatter.getvalue().splitlines()
    assert lines[0] == "Options:"
    written = {line.split()[0].rstrip(",") for line in lines[1:] if line.startswith("-")}
    assert {p.opts[0] for p in command.params if p.param_type_name == "option"} <= written
