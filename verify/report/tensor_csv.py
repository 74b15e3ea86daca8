"""Write the numbers of all tensors as CSV, which report.html holds as a link."""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Sequence
from urllib.parse import quote

from verify.checks.tensors import TensorReport


def tensor_csv(tensors: Sequence[TensorReport]) -> str:
    """Return a row for each tensor, with every digit. Empty: the number does not exist, as the bound of float32."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([field.name for field in dataclasses.fields(TensorReport)])
    for tensor in tensors:
        writer.writerow(
            [
                "x".join(map(str, tensor.shape)) if isinstance(value, tuple) else value
                for value in (getattr(tensor, field.name) for field in dataclasses.fields(tensor))
            ]
        )
    return text.getvalue()


def data_link(text: str) -> str:
    """Return an address that is the text itself, so that a download needs no network. Lone surrogates are escaped."""
    return "data:text/csv;charset=utf-8," + quote(text.encode("utf-8", "backslashreplace"))
