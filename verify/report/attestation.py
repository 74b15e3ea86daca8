"""Render attestation.json: the verdict as an in-toto Statement, for tools that sign and verify such statements.

The subject is the file, by its digest; the predicate is a test result (in-toto's test-result, version 0.1). The
statement is not signed: the publisher of the file signs it, with `cosign attest-blob --statement` or another in-toto
tool.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath
from typing import Any

from verify.report.document import readable
from verify.report.model import Report

STATEMENT = "https://in-toto.io/Statement/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"


def render(report: Report) -> str:
    """Return attestation.json. Its configuration names the source, the policy, the baseline and the report."""
    blamed = [check.name for check in report.blamed]
    passed = [check.name for check in report.checks if check.status == "pass"]
    allowed = [check.name for check in report.checks if check.name not in (*blamed, *passed)]
    statement = {
        "_type": STATEMENT,
        "subject": _subjects(report),
        "predicateType": TEST_RESULT,
        "predicate": {
            "result": ("WARNED" if allowed else "PASSED") if report.passed else "FAILED",
            "configuration": _configuration(report),
            "passedTests": passed,
            "warnedTests": allowed,
            "failedTests": blamed,
        },
    }
    return json.dumps(statement, indent=2) + "\n"


def _subjects(report: Report) -> list[dict[str, Any]]:
    """Return the file; of a directory each file, because tools compare digests of files."""
    name = PurePath(report.file["path"]).name
    files = report.file.get("files")
    if files is None:
        return [_resource(name, report.file["sha256"])]
    return [_resource(f"{name}/{own}", digest) for own, digest in files.items()]


def _configuration(report: Report) -> list[dict[str, Any]]:
    made_with = ", ".join(f"{name} {version}" for name, version in report.environment["versions"].items())
    own = hashlib.sha256(report.to_json().encode()).hexdigest()
    covered = {} if report.coverage is None else {"covered": report.coverage.to_dict()}
    annotations = {"made with": made_with, **covered}
    resources = [
        {**_resource("report.json", own), "mediaType": "application/json", "annotations": annotations},
        _resource(f"policy {report.policy.path} [{report.policy.section}]", report.policy.sha256),
        *(_resource(f"source {name}", digest) for name, digest in report.source["sha256"].items()),
    ]
    if report.judged_again:
        resources.append(_resource("report.json that was judged again", report.judged_again.report_sha256))
    if report.baseline:
        resources.append(_resource(f"baseline {report.baseline.path}", report.baseline.sha256))
    return resources


def _resource(name: str, sha256: str) -> dict[str, Any]:
    return {"name": readable(name), "digest": {"sha256": sha256}}
