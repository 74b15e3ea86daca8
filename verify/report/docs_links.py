"""Link each check to the page of the documentation that explains it."""

from __future__ import annotations

# Where the documentation is published. OWNER stands for the project's place, as in docs/ci.md.
DOCS = "https://git.example/OWNER/export-and-verify/docs/"

# check -> page and heading
_PAGES = {
    "config": "concepts.md#the-ladder-of-checks",
    "file": "concepts.md#the-ladder-of-checks",
    "tokenizer": "concepts.md#what-tokenizer-compares",
    "tensors": "debugging-a-mismatch.md#what-each-line-means",
    "operations": "error-bounds.md",
    "execution": "concepts.md#what-execution-compares",
    "engine": "your-engine.md#how-the-check-works",
    "storage": "concepts.md#what-honest-storage-costs",
    "quantization": "policy.md#keys",
    "coverage": "policy.md#coverage",
    "baseline": "policy.md#baseline",
}


def docs_of(check: str) -> str:
    """Return the address of the page about a check."""
    return DOCS + _PAGES.get(check, "concepts.md#the-ladder-of-checks")
