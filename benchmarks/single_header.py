"""What each part of the single header costs, in bytes of code and of memory: the tables of docs/single-header.md.

PYTHON benchmarks/single_header.py [--smollm2 DIR]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import exporter
from verify.demo import CHECKPOINT

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "single-header.md"
COMPILERS = ("gcc", "arm-linux-gnueabihf-gcc")
PARTS = {
    "everything": (),
    "the tokenizers": ("TOKENIZER",),
    "the arithmetic `fast`": ("FAST",),
    "the parser of v3, and digests": ("V3",),
    "the parsers of v0 to v2": ("V0_TO_V2",),
    "digests": ("DIGESTS",),
    "files": ("MMAP",),
    "threads": ("THREADS",),
    "all of these, but v3": ("MALLOC", "FAST", "V0_TO_V2", "DIGESTS", "THREADS"),
}
BATCHES = (1, 16, 256)
POSITIONS = (64, 256)
UNIT = '#define EXPORT_AND_VERIFY_IMPLEMENTATION\n#include "export_and_verify.h"\n'
ROOM = """
#include <stdio.h>
int main(int argc, char **argv)
{
    rc_model *model;
    rc_status status;
    int64_t bytes = 0;
    if (rc_open(argv[1], 1, &model, &status) || rc_session_room(model, atoi(argv[argc - 1]), 1, &bytes, &status))
        return 1;
    printf("%lld", (long long)bytes);
    return 0;
}
"""


def object_size(compiler: str, parts: tuple[str, ...], place: Path) -> int:
    """Return the bytes of code and data that the header compiles to without some parts."""
    (place / "all.c").write_text(UNIT)
    options = [f"-DRC_NO_{part}" for part in parts]
    command = [compiler, "-std=c11", "-Os", f"-I{place}", *options, "-c", place / "all.c", "-o", place / "all.o"]
    subprocess.run(command, check=True)
    shown = subprocess.run(["size", place / "all.o"], check=True, capture_output=True, text=True).stdout
    return int(shown.splitlines()[1].split()[3])


def code_table(place: Path) -> str:
    """Return what each part adds, by both compilers that this machine has."""
    compilers = [name for name in COMPILERS if shutil.which(name)]
    lines = [f"| part | {' | '.join(compilers)} |", f"|---|{'---|' * len(compilers)}"]
    whole = {name: object_size(name, (), place) for name in compilers}
    for title, parts in PARTS.items():
        sizes = [object_size(name, parts, place) for name in compilers]
        shown = [size if not parts else whole[name] - size for name, size in zip(compilers, sizes, strict=True)]
        lines.append(f"| {title} | {' | '.join(f'{size:,}' for size in shown)} |")
        if title.startswith("all of"):
            lines.append(f"| what is left then | {' | '.join(f'{size:,}' for size in sizes)} |")
    return "\n".join(lines)


def memory_table(models: dict[str, Path], place: Path) -> str:
    """Return the bytes of a session."""
    (place / "room.c").write_text(UNIT + ROOM)
    columns = [f"{n} positions, {name}" for name in models for n in POSITIONS]
    lines = [f"| `RC_MOST_BATCH` | `fast` | {' | '.join(columns)} |", f"|---|---|{'---|' * len(columns)}"]
    for batch in BATCHES:
        for fast in (True, False):
            options = [f"-DRC_MOST_BATCH={batch}", *([] if fast else ["-DRC_NO_FAST"])]
            command = ["gcc", "-std=c11", "-O0", f"-I{place}", *options, place / "room.c", "-o", place / "room"]
            subprocess.run([*command, "-lm", "-lpthread"], check=True)
            rooms = [
                int(subprocess.run([place / "room", path, str(n)], check=True, capture_output=True).stdout)
                for path in models.values()
                for n in POSITIONS
            ]
            shown = " | ".join(f"{room:,}" for room in rooms)
            lines.append(f"| {batch} | {'with' if fast else 'without'} | {shown} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", type=Path, metavar="DIR", help="SmolLM2-135M as a Hugging Face directory")
    given = parser.parse_args()
    page = PAGE.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        command = [sys.executable, ROOT / ".ci" / "single_header.py", place / "export_and_verify.h"]
        subprocess.run(command, check=True)
        models = {"the bundled checkpoint": CHECKPOINT}
        if given.smollm2:
            models["SmolLM2-135M"] = given.smollm2
        for name, source in models.items():
            models[name] = place / f"{source.name}.bin"
            exporter.export(exporter.open_checkpoint(source), models[name], format="v3", storage="q8_0")
        tables = {"code": code_table(place), "memory": memory_table(models, place)}
    for name, table in tables.items():
        before, mark, rest = page.partition(f"<!-- {name} -->\n")
        page = before + mark + f"\n{table}\n" + rest[rest.index("\n<!-- end -->") :]
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
