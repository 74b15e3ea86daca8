"""Each check has a page of the documentation, and the page has the heading."""

from __future__ import annotations

import pytest
from helpers.pages import DOCS as PAGES
from helpers.pages import anchors

from verify.checks.result import CHECKS
from verify.report.docs_links import DOCS, docs_of


@pytest.mark.parametrize("check", CHECKS)
def test_a_check_s_address_leads_to_a_heading_that_exists(check: str) -> None:
    address = docs_of(check)
    assert address.startswith(DOCS)
    page, _, heading = address.removeprefix(DOCS).partition("#")
    assert (PAGES / page).is_file()
    assert not heading or heading in anchors(PAGES / page)
