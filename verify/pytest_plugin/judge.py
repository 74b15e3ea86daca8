"""Judge each file once, when its first check runs."""

from __future__ import annotations

import json
from pathlib import Path

from verify.pytest_plugin.options import Asked
from verify.report.finding_lines import Json


class Judge:
    """Judges each file once, when its first check runs; of several workers, one does."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self._outcomes: dict[Path, Json] = {}

    def outcome(self, file: Path, number: int) -> Json:
        """{"verdict": pass or fail and "reason", "blamed": names of checks, "report": report.json's content}, or
        {"refused": why there is nothing to judge}. number: the file's own."""
        if file not in self._outcomes:
            alone = self.asked.shared is None
            self._outcomes[file] = self._judge(file) if alone else self._first_of_all(file, number)
        return self._outcomes[file]

    def _first_of_all(self, file: Path, number: int) -> Json:
        from filelock import FileLock  # noqa: PLC0415  # needed only here

        kept = Path(f"{self.asked.shared}-{number}.json")
        with FileLock(f"{kept}.lock"):
            if not kept.exists():
                partial = kept.with_suffix(".partial")
                partial.write_text(json.dumps(self._judge(file)), encoding="utf-8")
                # a worker that dies leaves no partial report
                partial.replace(kept)
            outcome: Json = json.loads(kept.read_text(encoding="utf-8"))
        return outcome

    def _judge(self, file: Path) -> Json:
        import reader_c  # noqa: PLC0415  # torch and numpy come with these
        from verify.errors import CannotJudgeError  # noqa: PLC0415
        from verify.report_dir import write_report  # noqa: PLC0415
        from verify.verdict import verify  # noqa: PLC0415

        report_dir = self.asked.report_dir(file)
        try:
            report = verify(self.asked.source, file, options=self.asked.options(file))
            if report_dir is not None:
                write_report(report, report_dir)
        except (CannotJudgeError, reader_c.ReaderError, OSError) as error:
            return {"refused": " ".join(str(error).split())}
        # if everything was skipped, every check is to blame
        blamed = report.blamed if report.passed or report.blamed else report.checks
        return {
            "verdict": report.verdict,
            "reason": report.reason,
            "blamed": [check.name for check in blamed],
            "report": json.loads(report.to_json()),
        }
