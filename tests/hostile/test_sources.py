"""Hostile sources on both roads: refused, each in one line; nothing executed, nothing opened outside."""

from __future__ import annotations

import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import hostile_directories, hostile_pickles, huggingface, meta
from helpers.checkpoints import save
from helpers.checkpoints import state_dict as small
from helpers.command_line import run
from helpers.counted import Counted
from helpers.models import arrays, config

import exporter
from verify.errors import CannotJudgeError
from verify.sources import open_source

# Odd, but what it holds is beyond doubt: where an archive's directory stands is found by search; a family's own code
# is used, whatever other code is named; transformers reads no rope_theta outside where there is one within.
HARMLESS = {
    "archive: directory beyond the file",
    "huggingface config.json: code of its own",
    "huggingface config.json: rope_theta of 400 digits",
}


def as_saved(value: object) -> bytes:
    out = io.BytesIO()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(100_000)  # of the pickler, which follows what is nested
    try:
        torch.save(value, out)
    finally:
        sys.setrecursionlimit(limit)
    return out.getvalue()


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All of them, by name, each in a directory of its own; and "canary", which any of them would leave."""
    root = tmp_path_factory.mktemp("hostile")
    made: dict[str, Path] = {"canary": root / "canary"}

    numbers = itertools.count()

    def room() -> Path:
        place = root / f"{next(numbers):04}"
        place.mkdir()
        return place

    for name, content in hostile_pickles.files(root / "canary", as_saved):
        made[name] = room() / "checkpoint.pt"
        made[name].write_bytes(content)
    healthy = {
        "huggingface": huggingface.save(room() / "model", huggingface.model()),
        "meta": meta.write(room() / "model", arrays(config()), config()),
    }
    for kind, changes in (("huggingface", hostile_directories.huggingface()), ("meta", hostile_directories.meta())):
        for name, change in changes:
            made[f"{kind} {name}"] = room() / "model"
            shutil.copytree(healthy[kind], made[f"{kind} {name}"])
            change(made[f"{kind} {name}"])
    return made


@pytest.fixture(scope="module")
def watched(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    room = tmp_path_factory.mktemp("watched")
    healthy = [save(room, small()), huggingface.save(room / "hf", huggingface.model())]
    healthy.append(meta.write(room / "meta", arrays(config()), config()))
    (room / "list.json").write_text(json.dumps([str(path) for name, path in sources.items() if name != "canary"]))
    program = Path(__file__).with_name("watch.py")
    command = [sys.executable, program, room / "list.json", room / "report.json", *healthy]
    subprocess.run(command, check=True, capture_output=True)
    report: dict[str, Any] = json.loads((room / "report.json").read_text())
    return report


def test_there_are_many(sources: dict[str, Path]) -> None:
    assert len(sources) > 440
    assert sum(path.suffix == ".pt" for path in sources.values()) > 250


@pytest.mark.parametrize("road", ["exporter", "verify"])
def test_every_one_is_refused_in_one_line_that_names_it(
    sources: dict[str, Path], watched: dict[str, Any], road: str, counted: Counted
) -> None:
    wrong, harmless = {}, 0
    for name, path in sources.items():
        if name == "canary":
            continue
        said = watched["found"][str(path)][road]
        if name in HARMLESS and not said:
            harmless += 1
            continue
        line = said.isprintable() and 0 < len(said) < 600 and str(path) in said and not said.startswith("BUG")
        if not line:
            wrong[name] = said[:300]
    assert not wrong
    told = f"refused in one line, but {harmless} whose oddity means nothing"
    counted(f"hostile sources: what {road} says", len(watched["found"]), told)


def test_nothing_is_executed_and_nothing_opened_outside(
    sources: dict[str, Path], watched: dict[str, Any], counted: Counted
) -> None:
    did = {
        name: found for name in sources if name != "canary" and (found := watched["found"][str(sources[name])]["did"])
    }
    assert not did
    assert not sources["canary"].exists()
    seconds = [max(found["seconds"]) for found in watched["found"].values()]
    told = f"nothing executed, nothing opened outside; the slowest in {max(seconds):.2f} s"
    told += f", {watched['memory'] / 1e6:.0f} MB for them all"
    counted("hostile sources, opened as exporter and verifier do", len(seconds), told)


def test_refusing_them_takes_little_memory(watched: dict[str, Any]) -> None:
    assert watched["memory"] < 256 << 20


def test_a_name_that_pytorch_cannot_open_is_told_as_that(tmp_path: Path) -> None:
    path = save(tmp_path, small()).rename(tmp_path / os.fsdecode(b"a\xffb.pt"))
    with pytest.raises(exporter.CheckpointError, match="expected a name in UTF-8"):
        exporter.open_checkpoint(path)
    with pytest.raises(CannotJudgeError, match="a name that is not UTF-8"):
        open_source(path)


@pytest.mark.parametrize(
    "name",
    [
        "zip: reduce os.system",
        "zip: storage of 200 GB",
        "stream: stack_global",
        "archive: a bomb",
        "huggingface index: a shard called '../outside.safetensors'",
        "huggingface shard: a FIFO",
        "meta params.json: 100,000 levels",
    ],
)
def test_the_commands_say_so_and_end_with_2(sources: dict[str, Path], tmp_path: Path, name: str, good: Path) -> None:
    before = good.read_bytes()
    for command in (
        ("export", sources[name], tmp_path / "out.bin", "--format", "v3"),
        ("verify", sources[name], good),
    ):
        result = run(*command)
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out.bin").exists()
    assert good.read_bytes() == before
