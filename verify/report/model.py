"""Define Report: findings with their renderings, each made once."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

from verify.report import html
from verify.report.document import document_of, json_of
from verify.report.findings import Findings


@dataclasses.dataclass(frozen=True)
class Report(Findings):
    """Is what verify(), release() and judge() return.

    Several files of a report need the same rendering: attestation.json has the digest of report.json, and report.html
    that of its document. So renderings are kept, and a changed report (dataclasses.replace) makes its own.
    """

    @cached_property
    def _document(self) -> dict[str, Any]:
        return document_of(self)

    @cached_property
    def _json(self) -> str:
        return json_of(self._document)

    @cached_property
    def _html(self) -> str:
        return html.render(self, self._document["digest"])

    def to_dict(self) -> dict[str, Any]:
        """Return report.json's document. Do not change it: the renderings are made from it."""
        return self._document

    def to_json(self) -> str:
        """Return report.json, which validates against its schema."""
        return self._json

    def to_html(self) -> str:
        """Return report.html: one page that needs no network, for screens of any size and for paper."""
        return self._html
