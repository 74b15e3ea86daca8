"""The benchmarks' results as pictures: reads results/*.json, writes results/*.svg.

make plots
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from measure import RESULTS

OURS, OTHERS, LIMIT = "#1f77b4", "#b8bec6", "#e0c060"
TASKS = {"prefill 512": "prefill of 512 tokens", "prefill 2048": "of 2048", "decode 64": "decoding"}


def colour(name: str) -> str:
    if name.startswith("ours"):
        return OURS
    return LIMIT if name.startswith(("matrix products", "memory")) else OTHERS


def bars(axes: Axes, title: str, names: Sequence[str], values: Sequence[float], unit: str) -> None:
    places = range(len(names))
    axes.barh(places, values, color=[colour(name) for name in names])
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlim(0, max(values) * 1.18)
    axes.set_xticks([])
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    for place, value in zip(places, values, strict=True):
        axes.text(value, place, f" {value:,.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}", va="center")


def reader() -> None:
    result = json.loads((RESULTS / "reader.json").read_text(encoding="utf-8"))
    rows = {tuple(name.split(", ")): speed for name, speed in result["tokens a second"].items()}
    figure, all_axes = plt.subplots(2, 3, figsize=(13, 5), layout="constrained")
    for row, kinds in zip(all_axes, (("fp32",), ("q8", "q8 weights")), strict=True):
        for axes, (task, title) in zip(row, TASKS.items(), strict=True):
            own = {
                engine.replace(" / fp32", "")
                .replace(" / q8 weights", ", float activations")
                .replace(" / q8", ""): speed
                for (engine, its_task), speed in rows.items()
                if its_task == task and engine.split(" / ")[1] in kinds
            }
            names = sorted(own, key=lambda name: -own[name])
            kind = "float32" if kinds == ("fp32",) else "Q8_0"
            bars(axes, f"{kind}, {title}", names, [own[name] for name in names], "tok/s")
    write(
        figure, "reader", f"SmolLM2-135M, logits at all positions; {result['machine']}, {result['threads']} threads"
    )


def export() -> None:
    result = json.loads((RESULTS / "export.json").read_text(encoding="utf-8"))
    figure, all_axes = plt.subplots(1, len(result["exports"]), figsize=(13, 1.9), layout="constrained")
    for axes, (name, found) in zip(all_axes, result["exports"].items(), strict=True):
        bars(axes, name, ["ours", "plain read and write"], [found["seconds"], found["plain"]], "s")
    write(figure, "export", f"Export of SmolLM2-135M to v3, the whole command; {result['machine']}")


def verify() -> None:
    result = json.loads((RESULTS / "verify.json").read_text(encoding="utf-8"))
    figure, all_axes = plt.subplots(1, len(result["seconds"]), figsize=(10, 1.9), layout="constrained")
    for axes, (name, found) in zip(all_axes, result["seconds"].items(), strict=True):
        bars(axes, name, ["ours", "transformers' forward"], [found["seconds"], found["transformers"]], "s")
    write(figure, "verify", f"A verdict on SmolLM2-135M at standard depth; {result['machine']}")


def write(figure: plt.Figure, name: str, title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left", fontsize=11)
    # no date and no random names in it: the same figures give the same bytes
    figure.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    mpl.rcParams.update({"svg.hashsalt": "plots", "svg.fonttype": "none", "font.size": 9})
    for draw in (reader, export, verify):
        # what was never measured has no picture
        if (RESULTS / f"{draw.__name__}.json").exists():
            draw()


if __name__ == "__main__":
    main()
