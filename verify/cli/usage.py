"""Words for mistakes in the command line itself: `where: expected X, found Y`, then what to type."""

from __future__ import annotations

import re
from difflib import get_close_matches

import rich_click as click

PROGRAM = "export-and-verify"
# The variable in which a shell asks for completions; click's scripts for shells set it.
COMPLETION = "_EXPORT_AND_VERIFY_COMPLETE"


def wrong_command(context: click.Context, name: str, near: str | None) -> click.UsageError:
    """Return the error for a command that does not exist, with the nearest one."""
    advice = f"did you mean `{PROGRAM} {near}`?" if near else f"`{PROGRAM} --help` lists them"
    return click.UsageError(f"{name}: expected a command, found none of this name: {advice}", context)


def reworded(error: click.ClickException) -> str:
    """Return what click says about the command line, in the form of all other errors."""
    match error:
        case click.NoSuchOption():
            return _no_such_option(error)
        case click.MissingParameter():
            return _missing(error)
        case click.BadParameter():
            return f"{_where(error)}: {_plain(error.message)}"
        case click.BadOptionUsage() if "requires" in error.message:
            return f"{error.option_name}: expected a value behind it, found none"
        case click.UsageError() if "unexpected extra argument" in error.message:
            found = error.message.partition("(")[2].rstrip(")")
            return (
                f"{_command(error)}expected no more arguments, found {found}: quote a path with spaces{_help(error)}"
            )
    return error.format_message()


def _command(error: click.UsageError) -> str:
    name = error.ctx.info_name if error.ctx is not None and error.ctx.parent is not None else None
    return f"{name}: " if name else ""


def _help(error: click.UsageError) -> str:
    name = _command(error).removesuffix(": ")
    return f"; `{PROGRAM} {name} --help` lists what it takes" if name else f"; `{PROGRAM} --help` lists the commands"


def _no_such_option(error: click.NoSuchOption) -> str:
    known = (
        []
        if error.ctx is None
        else ["--help", *(name for p in error.ctx.command.params for name in (*p.opts, *p.secondary_opts))]
    )
    near = get_close_matches(error.option_name, [name for name in known if name.startswith("--")], n=1, cutoff=0.6)
    advice = f": did you mean {near[0]}?" if near else _help(error).replace("; ", ": ", 1)
    return (
        f"{_command(error)}{error.option_name}: expected an option of this command, found none of this name{advice}"
    )


def _missing(error: click.MissingParameter) -> str:
    parameter = error.param
    if parameter is None or error.ctx is None:
        return error.format_message()
    expected = (
        parameter.type.get_missing_message(param=parameter, ctx=error.ctx)
        if isinstance(parameter, click.Option)
        else None
    )
    name = parameter.opts[0] if isinstance(parameter, click.Option) else parameter.make_metavar(error.ctx)
    advice = _help(error).replace("; ", ": ", 1)
    return f"{_command(error)}{name}: {expected or 'expected this argument'}, found none{advice}"


def _where(error: click.BadParameter) -> str:
    if error.param is None:
        return error.ctx.info_name or PROGRAM if error.ctx is not None else PROGRAM
    if isinstance(error.param, click.Option):
        return error.param.opts[0]
    return error.param.make_metavar(error.ctx) if error.ctx is not None else error.param.name or PROGRAM


def _plain(message: str) -> str:
    """Reword what click's own types say about a value."""
    numbers = {"integer": "an integer", "float": "a number", "boolean": "true or false"}
    found = re.fullmatch(
        r"(.+) is not a valid (integer|float|boolean)[.:].*|(.+) is not a valid (integer|float|boolean)\.?", message
    )
    if bounded := re.fullmatch(r"(.+) is not in the range x>=(\d+)\.", message):
        return f"expected {bounded[2]} or more, found {bounded[1]}"
    if not found:
        return message
    return f"expected {numbers[found[2] or found[4]]}, found {found[1] or found[3]}"
