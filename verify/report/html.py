from verify.report.model import Report


def render(report: Report) -> str:
    return "<!doctype html>"
