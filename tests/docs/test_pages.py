"""What the pages say in tables and pictures is what the code has, and their links lead somewhere."""

from __future__ import annotations

import re
import signal
import tomllib
from fnmatch import fnmatchcase
from xml.etree import ElementTree as ET

import pytest
from helpers.pages import DOCS, NAMES, ROOT, anchors

from verify.checks.policy import DEFAULT_POLICY
from verify.checks.result import CHECKS
from verify.cli.commands import app
from verify.cli.exits import INTERNAL_ERROR
from verify.evidence.depth import DEPTHS
from verify.report.document import schema
from verify.report.files import NAMES as REPORT_FILES

LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s]+)\)")
SVG = "{http://www.w3.org/2000/svg}"


def rows(text: str) -> list[list[str]]:
    """Cells of the first table in a text, its heading first."""
    table = re.search(r"^\|.*\n\|[-| ]+\n(?:\|.*\n)+", text, re.MULTILINE)
    assert table
    lines = [line for line in table[0].splitlines() if not re.fullmatch(r"[|\- ]+", line)]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def section(page: str, heading: str) -> str:
    _, found, rest = (DOCS / page).read_text().partition(f"\n{heading}\n")
    assert found, heading
    return rest.split("\n## ")[0]


def code(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


BESIDE = (
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    "benchmarks/README.md",
    "examples/pytest-project/README.md",
    "tests/README.md",
)


@pytest.mark.parametrize("name", [*NAMES, *BESIDE])
def test_relative_links_and_anchors_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in LINK.findall(page.read_text()):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        # a command's heading is made by the site's build
        if anchor and there.name != "commands.md":
            assert anchor in anchors(there), target


def test_every_page_is_in_the_site_and_says_what_the_reader_gets() -> None:
    nav = (ROOT / "mkdocs.yml").read_text().partition("nav:")[2].partition("theme:")[0]
    for page in DOCS.glob("*.md"):
        assert f": {page.name}\n" in nav, page.name
    for name in (
        "index",
        "quickstart",
        "concepts",
        "architecture",
        "commands",
        "policy",
        "reports",
        "python",
        "ci",
        "sources",
        "formats",
    ):
        assert "\n\n*You get: " in (DOCS / f"{name}.md").read_text(), name


def test_the_command_reference_lists_every_command_and_exit_status() -> None:
    page = (DOCS / "commands.md").read_text()
    assert {code(row[0])[0] for row in rows(page)[1:]} == set(app.commands)
    # 0 to 2: pass, fail, neither
    ends = {0, 1, 2, INTERNAL_ERROR, 128 + signal.SIGINT, 128 + signal.SIGTERM}
    assert {int(row[0]) for row in rows(section("commands.md", "## Exit status"))[1:]} == ends
    assert "::: mkdocs-click\n    :module: verify.cli.commands\n    :command: app\n" in page


def test_the_table_of_defaults_is_the_default_policy() -> None:
    policy = tomllib.loads(DEFAULT_POLICY.read_text())
    heading, *lines = rows(section("policy.md", "## Keys"))
    columns = {number: code(cell) for number, cell in enumerate(heading) if code(cell)}
    assert sorted(name for names in columns.values() for name in names) == sorted(policy)
    said = {
        (name, code(line[0])[0]): line[number]
        for line in lines
        for number, names in columns.items()
        for name in names
        # a format has no limit of a check that it does not have
        if line[number] != "-"
    }
    found = {}
    for name, table in policy.items():
        for key, value in table.items():
            found |= {(name, f"{key}.{k}"): v for k, v in value.items()} if isinstance(value, dict) else {}
        found[name, "may_be_skipped"] = table["may_be_skipped"]
    assert said.keys() == found.keys()
    for key, value in found.items():
        assert ([] if said[key] == "none" else float(said[key])) == value, key


def test_every_check_is_explained_in_its_order() -> None:
    assert tuple(code(row[0])[0] for row in rows(section("concepts.md", "## The ladder of checks"))[1:]) == CHECKS


def test_the_table_of_depths_is_the_one_of_the_code() -> None:
    shown = rows(section("concepts.md", "## Evidence and depth"))[1:]

    def said(number: int | None, words: str) -> str:
        return words if number is None else str(number)

    assert shown == [
        [
            f"`{name}`",
            str(depth.windows),
            str(depth.length),
            said(depth.longest, "no limit"),
            "all" if depth.every_id else "a sample",
            said(depth.traced, "all"),
            "all" if depth.positions is None else f"the first {depth.positions}",
        ]
        for name, depth in DEPTHS.items()
    ]


def test_the_report_s_files_and_keys_are_all_listed() -> None:
    files = [code(row[0])[0] for row in rows((DOCS / "reports.md").read_text())[1:]]
    assert sorted(files) == sorted(REPORT_FILES)
    keys = [key for row in rows(section("reports.md", "## report.json"))[1:] for key in code(row[0])]
    assert sorted(keys) == sorted(schema()["properties"])


def plain(text: str) -> str:
    return " ".join(re.sub("[*`:]", "", text).split())


@pytest.mark.parametrize(
    ("picture", "page"),
    [("from-fail-to-the-line", "debugging-a-mismatch.md"), ("two-roads", "architecture.md")],
)
def test_what_a_picture_says_stands_on_its_page_too(picture: str, page: str) -> None:
    path = DOCS / "pictures" / f"{picture}.svg"
    root = ET.parse(path).getroot()
    text = plain((DOCS / page).read_text())
    assert f"](pictures/{path.name})" in (DOCS / page).read_text()
    boxes = [node for node in root.iter(f"{SVG}g") if node.get("class") == "node"]
    assert len(boxes) > 8
    for box in boxes:
        words = " ".join(line.text for line in box.iter(f"{SVG}text"))
        assert plain(words) in text, words
    assert root.find(f"{SVG}title").text
    # nothing is fetched, and both grounds have their colours
    assert not re.search(r"href=\"[^#]|url\([^#]|@import", path.read_text())
    assert "prefers-color-scheme: dark" in path.read_text()


def test_the_readme_is_read_to_its_end() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) < 1000
    assert len(text.splitlines()) < 120


@pytest.mark.parametrize("name", [*NAMES, *BESIDE])
def test_every_test_that_a_page_names_exists(name: str) -> None:
    if name == "CHANGELOG.md":
        return  # names of its day
    for path in re.findall(r"`(tests/[\w/.]+)`", (ROOT / name).read_text()):
        assert (ROOT / path).exists(), path


def test_the_readme_of_the_tests_names_every_folder_and_helper() -> None:
    text = (ROOT / "tests" / "README.md").read_text()
    assert len(text.splitlines()) < 80
    folders = {path.name for path in (ROOT / "tests").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(re.findall(r"`tests/(\w+)/", text))
    helpers = ROOT / "tests" / "lib" / "helpers"
    named = [name for name in code(text.partition("## Helpers")[2]) if re.fullmatch(r"[\w*]+(\.py|/)", name)]
    found = {path.name for name in named for path in helpers.glob(name.rstrip("/"))}
    there = {path.name for path in helpers.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert found == there - {"__init__.py"}


def test_every_make_target_that_is_spoken_of_exists() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for name in [*NAMES, *BESIDE]:
        for spoken in re.findall(
            r"(?:`|^ *)make ([a-z0-9-]+(?: \| [a-z0-9-]+)*)", (ROOT / name).read_text(), re.MULTILINE
        ):
            assert set(spoken.split(" | ")) <= targets, (name, spoken)


def test_the_architecture_page_names_every_module() -> None:
    """A module is named by its own name or by a pattern, in a row of the table of its room or package."""
    text = (DOCS / "architecture.md").read_text()
    spans = {span.rpartition("/")[2] for span in code(text)}
    modules = [path for name in ("exporter", "reader_c", "verify") for path in (ROOT / name).rglob("*.py")]
    names = {path.name for path in modules if not path.name.startswith("__")}
    names |= {path.name for path in (ROOT / "reader_c" / "src").glob("*.c")}
    assert {name for name in names if not any(fnmatchcase(name, span) for span in spans)} == set()
    # and nothing that does not exist
    named = {span for span in spans if re.fullmatch(r"[\w]+\.(py|c|h|toml|json)", span)}
    exist = {
        path.name
        for place in ("exporter", "reader_c", "verify", "tests", ".ci")
        for path in (ROOT / place).rglob("*")
    } | {path.name for path in ROOT.glob("*.py")}
    assert named <= exist
