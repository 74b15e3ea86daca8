"""A report makes each rendering once, and a changed report makes its own."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import pytest
from helpers.reports import failing, passing

from verify.report import document, files, html, model


def test_every_rendering_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counting(name: str, function: object) -> object:
        def call(*arguments: object) -> object:
            made.append(name)
            return function(*arguments)  # type: ignore[operator]

        return call

    monkeypatch.setattr(model, "document_of", counting("document", document.document_of))
    monkeypatch.setattr(model, "json_of", counting("json", document.json_of))
    monkeypatch.setattr(html, "render", counting("html", html.render))
    report = passing()
    for _ in range(2):
        found = files.render(report)
        assert found["report.json"].decode() == report.to_json()
        assert found["report.html"].decode() == report.to_html()
    assert sorted(made) == ["document", "html", "json"]


def test_the_files_of_a_report_name_its_digests() -> None:
    found = files.render(failing())
    digest = json.loads(found["report.json"])["digest"]
    assert f'title="{digest}"' in found["report.html"].decode()
    assert hashlib.sha256(found["report.json"]).hexdigest() in found["attestation.json"].decode()


def test_a_changed_report_renders_what_it_now_says() -> None:
    report = passing()
    before = report.to_json(), report.to_html()
    changed = dataclasses.replace(report, file={**report.file, "bytes": 12345})
    assert "12,345 bytes" in changed.to_html()
    assert json.loads(changed.to_json())["file"]["bytes"] == 12345
    assert (report.to_json(), report.to_html()) == before
    assert report == passing()
