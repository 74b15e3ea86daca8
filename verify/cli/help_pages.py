"""The commands that help: the pages of the documentation, and completion for shells."""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click
from click.shell_completion import get_completion_class

from verify.cli import panels
from verify.cli.option_types import Choice, nearest
from verify.cli.usage import COMPLETION, PROGRAM

SHELLS = ("bash", "zsh", "fish")
# The wheel carries the pages inside the package; in a checkout they stand at its top.
_PLACES = (Path(__file__).parent / "pages", Path(__file__).parents[2] / "docs")


def _pages() -> dict[str, Path]:
    place = next((place for place in _PLACES if (place / "quickstart.md").is_file()), None)
    return {} if place is None else {path.stem: path for path in sorted(place.glob("*.md"))}


@click.command(cls=panels.Command, epilog="Example: export-and-verify docs debugging-a-mismatch")
@click.argument("page", required=False, metavar="[PAGE]", help="The page's name; without it, their list.")
def docs(page: str | None) -> int:
    """Print a page of the documentation."""
    from verify.errors import CannotJudgeError  # noqa: PLC0415

    pages = _pages()
    if page is None:
        for name, path in pages.items():
            title = next(line for line in path.read_text("utf-8").splitlines() if line.startswith("# "))
            click.echo(f"{name:<22}{title.removeprefix('# ')}")
        return 0
    name = page.removeprefix("docs/").removesuffix(".md")
    if name not in pages:
        raise CannotJudgeError(
            f"{page}: expected a page of the documentation, found none of this name"
            f"{nearest(name, list(pages)) or f': `{PROGRAM} docs` lists them'}"
        )
    text = pages[name].read_text("utf-8")
    if not sys.stdout.isatty():
        click.echo(text, nl=False)
        return 0
    from rich.console import Console  # noqa: PLC0415
    from rich.markdown import Markdown  # noqa: PLC0415

    Console().print(Markdown(text))
    return 0


@click.command(
    cls=panels.Command,
    epilog="Example: export-and-verify completion bash >> ~/.bashrc",
)
@click.pass_context
@click.argument("shell", type=Choice(SHELLS), metavar="SHELL", help="bash, zsh or fish.")
def completion(context: click.RichContext, /, shell: str) -> int:
    """Print the script that lets a shell complete commands, options and paths."""
    kind = get_completion_class(shell)
    assert kind is not None  # click has these three
    program = context.find_root().command
    click.echo(kind(program, {}, PROGRAM, COMPLETION).source())
    return 0
