"""Show statistics and differences on a terminal."""

from __future__ import annotations

from verify.checks.digits import counted, number
from verify.inspection.difference import Difference
from verify.inspection.sizes import mib
from verify.inspection.tensor_statistics import BINS, TensorStatistics
from verify.report.console import plain_table, stdout_console
from verify.report.lines import print_table

_BAR = 40
_MOST_ROWS = 2000


def show_statistics(found: TensorStatistics) -> None:
    """Print the statistics of a tensor, and its histogram."""
    console = stdout_console()
    group = f" in groups of {found.group_size}" if found.group_size else ""
    shape = " x ".join(map(str, found.shape))
    size = f"{found.bytes:,} bytes ({mib(found.bytes / 2**20)} MiB), {found.bits:.3g} bits a weight"
    console.print(f"{found.name}: {shape}, {found.storage}{group}, {size}", soft_wrap=True, markup=False)
    table = plain_table("statistic", "value")
    for key, value in (
        ("numbers", f"{found.numbers:,}"),
        ("not finite", f"{found.not_finite:,}"),
        ("zeros", f"{found.zeros:,}"),
        ("smallest", number(found.smallest, 6)),
        ("largest", number(found.largest, 6)),
        ("mean", number(found.mean, 6)),
        ("standard deviation", number(found.standard_deviation, 6)),
        ("RMS", number(found.rms, 6)),
    ):
        table.add_row(key, value)
    if found.saturated is not None:
        table.add_row("int8 at -127 or 127", f"{found.saturated:,}")
        table.add_row("groups of zeros", f"{found.empty_groups:,}")
    print_table(console, table)
    if found.smallest is None or found.largest is None:
        return
    most, width = max(found.histogram), (found.largest - found.smallest) / BINS
    for at, count in enumerate(found.histogram):
        bar = "#" * round(_BAR * count / most)
        console.print(f"{found.smallest + at * width:>12.4g}  {bar:<{_BAR}}  {count:,}".rstrip(), markup=False)


def show_difference(found: Difference) -> None:
    """Print how two files differ, and last whether they are alike."""
    console = stdout_console()
    if found.fields:
        table = plain_table("field", found.a, found.b)
        for one in found.fields:
            table.add_row(one.field, one.a, one.b)
        print_table(console, table)
    if found.tensors:
        table = plain_table("tensor", "in A", "in B", "differing", "largest", "RMS", "RMS / A's")
        for tensor in found.tensors[:_MOST_ROWS]:
            share = f"{tensor.differing:,} of {tensor.numbers:,}" if tensor.numbers else "-"
            sizes = (number(value) for value in (tensor.largest, tensor.rms, tensor.relative))
            table.add_row(tensor.name, tensor.a or "missing", tensor.b or "missing", share, *sizes)
        print_table(console, table)
    if more := len(found.tensors) - _MOST_ROWS:
        console.print("" if more < 0 else f"{more:,} more: use --json to list them", end="" if more < 0 else "\n")
    console.print(_conclusion(found), soft_wrap=True, markup=False)


def _conclusion(found: Difference) -> str:
    if found.same_bytes:
        return f"alike: the files are the same, byte for byte ({counted(found.compared, 'tensor')})"
    if found.alike:
        formats = " and ".join(dict.fromkeys(found.formats))
        return f"alike: the same model, number by number, as {formats} ({counted(found.compared, 'tensor')})"
    model = [one for one in found.fields if one.field not in ("format", "group_size")]
    what = f"{counted(len(model), 'field')}, {counted(len(found.tensors), 'tensor')} of {found.compared}"
    return f"different: {what}"
