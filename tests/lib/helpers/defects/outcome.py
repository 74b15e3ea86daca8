"""What came of a defect: which checks fell, and whether they named the right place. Plain data, so that it travels
between processes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from helpers.defects.kinds import Defect

CHECKS = ("opening", "config", "file", "tensors", "operations", "execution", "storage", "quantization")
EXACT = ("opening", "config", "file", "tensors")


@dataclass
class Finding:
    """Of one check. use: what it observed over its limit, None where the limit is zero."""

    status: str
    where: dict[str, Any]
    detail: str
    use: float | None = None


@dataclass
class Outcome:
    """checks are those of the report; none where opening was refused. top1 and atol: whether a comparison of the most
    likely tokens, or of logits by a tolerance, would have noticed; None where there were no logits to compare."""

    opening: Finding = field(default_factory=lambda: Finding("pass", {}, ""))
    checks: dict[str, Finding] = field(default_factory=dict)
    diagnosis: str | None = None
    top1: bool | None = None
    atol: bool | None = None

    def status(self, check: str) -> str:
        """pass, fail, or skipped where it was not reached."""
        if check == "opening":
            return self.opening.status
        return self.checks[check].status if check in self.checks else "skipped"

    def finding(self, check: str) -> Finding:
        return self.opening if check == "opening" else self.checks[check]

    def caught(self, defect: Defect) -> list[str]:
        """The meant checks that caught it."""
        return [check for check in defect.caught_by if self.status(check) == "fail"]

    def misplaced(self, defect: Defect) -> list[str]:
        """The meant checks that caught it and name another place."""
        return [check for check in self.caught(defect) if not self._names(check, defect)]

    def _names(self, check: str, defect: Defect) -> bool:
        where = self.finding(check).where
        return all(where.get(key) == value for key, value in defect.caught_by[check].items())

    def strays(self, defect: Defect) -> list[str]:
        """The exact checks that blame what this defect leaves whole."""
        return [name for name in EXACT if name not in defect.caught_by and self.status(name) == "fail"]

    @property
    def blamed(self) -> list[str]:
        """The checks that fail for more than that two ways of calling the reader round differently."""
        failed = [name for name, finding in self.checks.items() if finding.status == "fail"]
        return [name for name in failed if "expected the bits of the whole window" not in self.checks[name].detail]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Outcome:
        checks = {name: Finding(**finding) for name, finding in data["checks"].items()}
        return cls(**{**data, "opening": Finding(**data["opening"]), "checks": checks})
