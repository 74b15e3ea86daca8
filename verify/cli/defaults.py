"""Defaults of options: EXPORT_AND_VERIFY_* variables, a TOML file, or [tool.export-and-verify] in pyproject.toml.

The command line comes first, then the environment, then the file. What was taken from where is recorded, because a
setting may decide a verdict that nobody at the command line chose.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import rich_click as click
from click.core import ParameterSource

from verify.cli.option_types import PATH, nearest

PREFIX = "EXPORT_AND_VERIFY_"
TABLE = "export-and-verify"
CONFIG_VARIABLE = f"{PREFIX}CONFIG"

# Not by default: it would destroy a file that nobody meant; and those that only choose what is shown now.
_NEVER = ("overwrite", "config", "print_policy", "help", "version")
# They change what is printed and how fast, but no verdict.
_WITHOUT_INFLUENCE = (
    "report",
    "json",
    "quiet",
    "verbose",
    "threads",
    "memory",
    "resume",
    "cluster",
    "workers",
    "sign_key",
)
_FILE = "verify.cli.defaults.file"


def variable_of(option: click.Option) -> str:
    """Return the name of an option's environment variable: EXPORT_AND_VERIFY_MAX_SEQ_LEN."""
    return PREFIX + key_of(option).upper().replace("-", "_")


def key_of(option: click.Option) -> str:
    """Return the name of an option in a TOML file: max-seq-len."""
    return max(option.opts, key=len).lstrip("-")


def settable(command: click.Command) -> list[click.Option]:
    """Return the options of a command that a file or a variable may set."""
    return [p for p in command.params if isinstance(p, click.Option) and p.name not in _NEVER]


def give_variables(commands: Iterable[click.Command]) -> None:
    """Let every option that may be set so be read from its environment variable."""
    for command in commands:
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.name == "config":
                parameter.envvar = CONFIG_VARIABLE
        for option in settable(command):
            option.envvar = variable_of(option)


def read_config(context: click.Context, _option: click.Parameter, given: Path | None) -> None:
    """Take the defaults of a command's options from the given file, or from the nearest pyproject.toml."""
    if context.resilient_parsing:
        return
    path = given or _nearest_pyproject(Path.cwd())
    if path is None:
        return
    table, where = _table_of(path, asked_for=given is not None)
    context.default_map = _values(table, where, path.parent, context)
    context.meta[_FILE] = where


def _nearest_pyproject(directory: Path) -> Path | None:
    """Return the first pyproject.toml with our table, in this directory or above it."""
    for place in (directory, *directory.parents):
        path = place / "pyproject.toml"
        # most belong to other programs; a file that somebody else broke is theirs to fix
        if path.is_file() and f"tool.{TABLE}" in path.read_text("utf-8", errors="replace"):
            return path
    return None


def _table_of(path: Path, *, asked_for: bool) -> tuple[dict[str, Any], str]:
    """Return the table of defaults, and how to name its place."""
    try:
        content = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise click.UsageError(
            f"{path}: --config: expected a TOML file, found: {(error.strerror or '').lower()}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{path}: expected TOML, found: {error}: correct the file") from error
    tools = content.get("tool")
    if isinstance(tools, dict) and TABLE in tools:
        content, where = tools[TABLE], f"{path} [tool.{TABLE}]"
    elif path.name == "pyproject.toml":
        content, where = {}, f"{path} [tool.{TABLE}]"
    else:
        where = str(path)
    if not isinstance(content, dict):
        raise click.UsageError(f"{where}: expected a table of options, found {type(content).__name__}")
    if asked_for and not content:
        raise click.UsageError(f'{where}: expected at least one option, found none: write for example depth = "full"')
    return content, where


def _values(table: Mapping[str, Any], where: str, base: Path, context: click.Context) -> dict[str, Any]:
    """Return the defaults of this command. A table of a command's name holds what is for that command alone."""
    group = context.parent.command if context.parent is not None else None
    commands = group.commands if isinstance(group, click.Group) else {}
    known = {key_of(option) for command in commands.values() for option in settable(command)}
    mine = {key_of(option): option for option in settable(context.command)}
    values: dict[str, Any] = {}
    for key, value in table.items():
        if key in commands and isinstance(value, dict):
            if key == context.info_name:
                values |= _of_command(value, f"{where} {key}", mine, base)
        elif key not in known:
            raise _unknown(where, key, sorted(known))
        elif key in mine:
            values.setdefault(mine[key].name or key, _value(mine[key], value, f"{where}: {key}", base))
    return values


def _of_command(table: Mapping[str, Any], where: str, mine: Mapping[str, click.Option], base: Path) -> dict[str, Any]:
    for key in table:
        if key not in mine:
            raise _unknown(where, key, sorted(mine))
    return {mine[key].name or key: _value(mine[key], value, f"{where}: {key}", base) for key, value in table.items()}


def _unknown(where: str, key: str, known: list[str]) -> click.UsageError:
    near = nearest(key, known)
    return click.UsageError(
        f"{where}: {key}: expected an option that may have a default, found none of this name{near}"
    )


def _value(option: click.Option, value: Any, where: str, base: Path) -> Any:
    """Return a value as click takes it; a path is relative to the file that names it."""
    if option.multiple:
        value = [value] if isinstance(value, str) else value
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return value
        raise click.UsageError(f"{where}: expected a string or a list of strings, found {value!r:.80}")
    if option.is_flag:
        if not isinstance(value, bool):
            raise click.UsageError(f"{where}: expected true or false, found {value!r:.80}")
        return not value if option.flag_value is False else value
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise click.UsageError(f"{where}: expected a string or a number, found {value!r:.80}")
    return str(base / str(value)) if option.type is PATH else str(value)


def origins(context: click.Context) -> dict[str, str]:
    """Return where each setting comes from that was not given on the command line: name to "VALUE, from PLACE"."""
    found: dict[str, str] = {}
    for option in settable(context.command):
        source = context.get_parameter_source(option.name or "")
        if source is ParameterSource.ENVIRONMENT:
            found[key_of(option)] = f"{os.environ[variable_of(option)]}, from {variable_of(option)}"
        elif source is ParameterSource.DEFAULT_MAP:
            shown = (context.default_map or {})[option.name or ""]
            shown = (
                " ".join(shown)
                if isinstance(shown, list)
                else str(shown).lower()
                if isinstance(shown, bool)
                else shown
            )
            found[key_of(option)] = f"{shown}, from {context.meta[_FILE]}"
    return found


def notes_of(context: click.Context) -> tuple[str, ...]:
    """Return what a report must say about settings that may decide its verdict and that nobody typed."""
    silent = {name.replace("_", "-") for name in _WITHOUT_INFLUENCE}
    return tuple(f"setting {name}: {origin}" for name, origin in origins(context).items() if name not in silent)


def unknown_variables(commands: Iterable[click.Command]) -> list[str]:
    """Return a note for each EXPORT_AND_VERIFY_* variable that sets nothing."""
    known = sorted({CONFIG_VARIABLE, *(variable_of(option) for command in commands for option in settable(command))})
    return [
        f"{name}: expected the name of an option, found none{nearest(name, known)}"
        for name in sorted(os.environ)
        if name.startswith(PREFIX) and name not in known and not name.endswith("_COMPLETE")
    ]
