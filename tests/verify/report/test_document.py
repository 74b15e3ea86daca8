"""The document of a report validates, has its digest, and holds only what JSON has."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest
from helpers.reports import METRICS, REPORTS, passing
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import ValidationError

from verify.report.document import against_schema, digest_of_report, document_of, json_of, plain, readable, schema


@pytest.mark.parametrize("name", REPORTS)
def test_a_document_validates_and_its_digest_covers_all_else(name: str) -> None:
    document = document_of(REPORTS[name])
    assert against_schema(document) is None
    assert document.keys() == schema()["properties"].keys()
    assert document["digest"] == digest_of_report(document)
    for key in document.keys() - {"digest"}:
        assert digest_of_report({**document, key: "another"}) != document["digest"]


def test_a_document_that_violates_the_schema_is_not_written() -> None:
    document = {**document_of(passing()), "verdict": "maybe"}
    with pytest.raises(ValidationError, match="'maybe' is not one of"):
        json_of(document)


def test_numbers_that_json_has_not_become_text() -> None:
    metrics = dataclasses.replace(METRICS, kl_max=math.inf, kl_p99=math.nan)
    text = json_of(document_of(dataclasses.replace(passing(), metrics=metrics)))
    found = json.loads(text)["metrics"]
    assert (found["kl_max"], found["kl_p99"]) == ("inf", "nan")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
)


@given(values)
def test_plain_data_is_strict_json_and_stays_as_it_is(value: object) -> None:
    found = plain(value)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert plain(found) == found


def test_a_name_that_is_no_text_is_escaped() -> None:
    assert readable("a\udcff.bin") == "a\\udcff.bin"
