"""Define Report: findings with their renderings, each made once."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import Any

from verify.report import html, notebook
from verify.report.document import document_of, json_of
from verify.report.findings import Findings


@dataclasses.dataclass(frozen=True, repr=False)
class Report(Findings):
    """Is what verify(), release() and judge() return. A notebook shows it as the verdict and the table of checks.

    Several files of a report need the same rendering: attestation.json has the digest of report.json, and report.html
    that of its document. So renderings are kept, and a changed report (dataclasses.replace) makes its own.
    """

    def __repr__(self) -> str:
        return f"<verify.Report {notebook.one_line(self)}>"

    def _repr_html_(self) -> str:
        return notebook.render(self)

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
        """Give report.json's document.

        Returns:
            Plain data. Do not change it: the renderings are made from it.
        """
        return self._document

    def to_json(self) -> str:
        """Render the report as report.json.

        Returns:
            The text, which validates against its schema.
        """
        return self._json

    def to_html(self) -> str:
        """Render the report as report.html.

        Returns:
            One page that needs no network, for screens of any size and for paper.
        """
        return self._html
