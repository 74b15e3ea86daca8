"""Mutants of Python modules that no test can notice, each with the reason: python_mutants.py does not try them."""

from __future__ import annotations

# (module, the lines as they are, the lines as they become) -> why no test can see it
UNSEEN: dict[tuple[str, str, str], str] = {
    **{
        ("verify/checks/digits.py", *change): "17 digits tell any two numbers apart, so no loop comes so far"
        for change in (
            ("_ALL_DIGITS = 17", "_ALL_DIGITS = 18"),
            (
                'texts = (f"{value:.{count}g}" for count in range(digits, _ALL_DIGITS + 1))',
                'texts = (f"{value:.{count}g}" for count in range(digits, _ALL_DIGITS + 2))',
            ),
        )
    },
    (
        "verify/checks/digits.py",
        "if value is None or limit is None or value == limit:",
        "if value is None or limit is None and value == limit:",
    ): "for an equal number no text differs, and beside none every text does: the same is written",
    **{
        (
            "verify/checks/digits.py",
            'return f"{share:.{decimals if share == 1 else shown}%}"',
            f'return f"{{share:.{{decimals if share == {other} else shown}}%}}"',
        ): "for a share of 0, 1 or 2 the loop gives the same decimals"
        for other in (0, 2)
    },
}
