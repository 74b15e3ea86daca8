"""Writes the tables of the keys of config.json that transformers reads, one for each road.

    python tests/campaigns/config_keys.py

Run it with the transformers that the tables shall describe. A key that is new in them is refused by name, unless a
road says what it means or that it changes no logit.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "lib")]

import transformers  # noqa: E402
from helpers.config_keys import FAMILIES, recorded  # noqa: E402

EXPORTER = ROOT / "exporter" / "sources" / "huggingface_keys.py"
VERIFIER = ROOT / "verify" / "sources" / "huggingface_keys.py"
Table = Mapping[str, frozenset[str]]

_OF_EXPORTER = '''"""Which keys of config.json transformers {version} reads, for each family: data, and nothing else.

Recorded by tests/campaigns/config_keys.py while transformers loads a tiny model and runs it. Names of methods and
properties are among them: a key of that name would take their place.
"""

from __future__ import annotations

_ALL = """
{shared}
"""
_OF_FAMILY = {{
{own}
}}

READ = {{family: frozenset(f"{{_ALL}} {{own}}".split()) for family, own in _OF_FAMILY.items()}}
'''

_OF_VERIFIER = '''"""Lists the keys of config.json that transformers reads, for each family of models.

tests/campaigns/config_keys.py recorded the table from transformers {version}: it loads and runs a tiny model under a
config that notes each access. Names of methods and properties are included, since a key would replace them.
"""

from __future__ import annotations

_BY_ALL = frozenset(
    {{
{shared}
    }}
)

READ: dict[str, frozenset[str]] = {{
{own}
}}
'''


def exporters(read: Table) -> str:
    shared = frozenset.intersection(*read.values())
    words = textwrap.fill(" ".join(sorted(shared)), 118, initial_indent=" " * 4, subsequent_indent=" " * 4)
    own = "\n".join(f'    "{family}": """{_wrapped(keys - shared)}""",' for family, keys in read.items())
    return _OF_EXPORTER.format(version=transformers.__version__, shared=words, own=own)


def _wrapped(keys: frozenset[str]) -> str:
    """Return keys on one line if they fit, and on indented lines of their own otherwise."""
    text = " ".join(sorted(keys))
    if len(text) <= 90:
        return text
    margin = " " * 8
    return f"\n{textwrap.fill(text, 118, initial_indent=margin, subsequent_indent=margin)}\n    "


def verifiers(read: Table) -> str:
    shared = frozenset.intersection(*read.values())
    own = "\n".join(
        f'    "{family}": _BY_ALL\n    | {{\n{_rows(keys - shared, 8)}\n    }},' for family, keys in read.items()
    )
    return _OF_VERIFIER.format(version=transformers.__version__, shared=_rows(shared, 8), own=own)


def _rows(keys: frozenset[str], indent: int) -> str:
    """Write keys as rows of a set that the formatter leaves alone."""
    lines = textwrap.wrap(", ".join(f'"{key}"' for key in sorted(keys)), 106)
    return "\n".join(f"{' ' * indent}*({line.removesuffix(',')}{',' * (',' not in line)})," for line in lines)


def main() -> None:
    read = {family: recorded(family) for family in FAMILIES}
    for path, content in ((EXPORTER, exporters(read)), (VERIFIER, verifiers(read))):
        path.write_text(content)
        print(
            f"{path.relative_to(ROOT)}: {', '.join(f'{len(keys)} keys of {family}' for family, keys in read.items())}"
        )


if __name__ == "__main__":
    main()
