"""Write numbers for people: with few digits, but enough to tell a number from its limit."""

from __future__ import annotations

# So many digits distinguish every two float64 numbers.
_ALL_DIGITS = 17


def number(value: float | None, digits: int = 4) -> str:
    """Write a number with that many digits, or "-" if there is none."""
    return "-" if value is None else f"{value:.{digits}g}"


def beside(value: float | None, limit: float | None, digits: int = 4) -> str:
    """Write a number next to its limit, with as many digits as it takes to tell the two apart."""
    if value is None or limit is None or value == limit:
        return number(value, digits)
    texts = (f"{value:.{count}g}" for count in range(digits, _ALL_DIGITS + 1))
    return next((text for text in texts if text != number(limit, digits)), number(value, digits))


def apart(first: float, second: float, digits: int = 4) -> tuple[str, str]:
    """Write two numbers with as many digits as it takes to tell them apart."""
    pairs = ((f"{first:.{count}g}", f"{second:.{count}g}") for count in range(digits, _ALL_DIGITS + 1))
    same = number(first, digits), number(second, digits)
    return next((pair for pair in pairs if pair[0] != pair[1]), same)


def counted(count: int, noun: str, plural: str = "") -> str:
    """Write a count with its noun, in the singular for one: "1 row", "2 rows"."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def percentage(share: float, decimals: int) -> str:
    """Write a share in percent: "99.9%". Only a share of exactly 1 reads 100%; others near 1 get more decimals."""
    every = range(decimals, _ALL_DIGITS)
    shown = next((count for count in every if f"{share:.{count}%}" != f"{1:.{count}%}"), decimals)
    return f"{share:.{decimals if share == 1 else shown}%}"
