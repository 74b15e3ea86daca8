"""Whole verdicts on random models of every family, made by transformers: no healthy one may fail.

    python tests/campaigns/families.py [--models 300] [--only FAMILY]

Each model is saved as a Hugging Face directory in float32 or bfloat16, exported to v3 in one of three storages,
verified, and, where its storage lost nothing, exported back: config and every tensor must be the source's. A run
continues where the last one stopped: the numbers of models so far are kept beside it, in .families.json.
"""

from __future__ import annotations

import json
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from helpers import huggingface
from helpers.family_models import CLASSES, family_model, family_settings
from hypothesis import HealthCheck, Phase, given, seed, settings
from record import Row, finish, options
from safetensors.torch import load_file

import exporter
import verify

KEPT = Path(".families.json")
BATCH = 10
STORAGES = ("source", "q8_0", "bf16")


def outcome(family: str, keywords: dict[str, Any], number: int, room: Path) -> str:
    """What came of one model: "pass", "refused", or the checks that blame it, or what is lost on the way back."""
    draw = random.Random(number)
    lossless, storage = draw.random() < 0.5, draw.choice(STORAGES)
    model = family_model(family, keywords, number).to(torch.float32 if lossless else torch.bfloat16)
    huggingface.save(room / "source", model)
    try:
        checkpoint = exporter.open_checkpoint(room / "source")
        exporter.export(checkpoint, room / "model.bin", format="v3", storage=storage, group_size=2)
    except exporter.ExportError:
        return "refused"
    report = verify.verify(room / "source", room / "model.bin", depth="quick")
    if not report.passed:
        return ", ".join(check.name for check in report.checks if check.status == "fail")
    return "pass" if storage != "source" else way_back(room)


def way_back(room: Path) -> str:
    """A file says what is computed, not which family it was: it becomes the first whose class computes it."""
    exporter.export(exporter.open_checkpoint(room / "model.bin"), room / "back", format="hf")
    before, after = (exporter.open_checkpoint(room / name) for name in ("source", "back"))
    if before.config != after.config or list(before.names) != list(after.names):
        return "another model comes back"
    if any(before.load(name).tobytes() != after.load(name).tobytes() for name in before.names):
        return "other numbers come back"
    types = [json.loads((room / name / "config.json").read_text())["model_type"] for name in ("source", "back")]
    if types[0] != types[1]:
        return "pass"
    files = [load_file(room / name / "model.safetensors") for name in ("source", "back")]
    if files[0].keys() != files[1].keys():
        return "other tensors come back"
    same = all(torch.equal(files[0][name].view(torch.uint8), files[1][name].view(torch.uint8)) for name in files[0])
    return "pass" if same else "other bits come back"


def batch(family: str, number: int) -> Counter[str]:
    found: Counter[str] = Counter()

    @seed(number)
    @settings(
        max_examples=BATCH,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(family_settings(family))
    def judge(keywords: dict[str, Any]) -> None:
        with tempfile.TemporaryDirectory() as room:
            came = outcome(family, keywords, number * BATCH + found.total(), Path(room))
        found[came] += 1
        if came not in ("pass", "refused"):
            print(f"{family}: {came}: {keywords}", flush=True)

    judge()
    return found


def rows(kept: dict[str, dict[str, int]]) -> list[Row]:
    made = []
    for family, found in kept.items():
        judged = sum(found.values()) - found.get("refused", 0)
        wrong = judged - found.get("pass", 0)
        what = f"{family}: random models to v3 in {len(STORAGES)} storages, verified, and back"
        made.append(Row(what, judged, f"{wrong} fail; {found.get('refused', 0)} more refused", wrong))
    return made


def main() -> None:
    parser = options(__doc__)
    parser.add_argument("--models", type=int, default=300, help="of each family")
    parser.add_argument("--only", choices=CLASSES)
    arguments = parser.parse_args()
    began = time.monotonic()
    kept: dict[str, dict[str, int]] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    # a batch of every family in its turn, so that a run that is stopped has seen all
    for number in range(-(-arguments.models // BATCH)):
        for family in [arguments.only] if arguments.only else CLASSES:
            so_far = Counter(kept.get(family, {}))
            if so_far.total() > number * BATCH:
                continue
            kept[family] = dict(so_far + batch(family, number))
            KEPT.write_text(json.dumps(kept))
            print(f"{family}: {kept[family]}", flush=True)
    finish("families", rows(kept), began, trial=arguments.trial, partial=bool(arguments.only))


if __name__ == "__main__":
    main()
