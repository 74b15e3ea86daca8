"""The CSV of a report has every number of every tensor, to the last digit."""

from __future__ import annotations

import csv
import dataclasses
import io
from urllib.parse import unquote

from helpers.reports import passing

from verify.checks.tensors import TensorReport
from verify.report.tensor_csv import data_link, tensor_csv


def test_each_tensor_is_a_row_with_all_its_digits() -> None:
    third = dataclasses.replace(passing().tensors[0], max_abs_error=1 / 3)
    rows = list(csv.DictReader(io.StringIO(tensor_csv((third, *passing().tensors)))))
    assert len(rows) == 3
    assert list(rows[0]) == [field.name for field in dataclasses.fields(TensorReport)]
    assert float(rows[0]["max_abs_error"]) == 1 / 3
    assert rows[0]["shape"] == "48x40"
    # lossless: no bound
    assert (rows[2]["name"], rows[2]["bound"], rows[2]["snr_db"]) == ("norm.weight", "", "")


def test_a_link_holds_the_text_itself() -> None:
    kind, _, text = data_link('a,"b"\né\udcff#%\n').partition(",")
    assert kind == "data:text/csv;charset=utf-8"
    assert unquote(text) == 'a,"b"\né\\udcff#%\n'
    assert not {"#", '"', "\n", " "} & set(text)
