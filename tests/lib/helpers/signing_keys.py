"""Pairs of keys, made by openssl as the documentation says."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_keys(directory: Path, name: str, *, curve: str | None = "prime256v1", passphrase: str | None = None) -> None:
    """Write name.pem and name.pub. curve: None for RSA."""
    private, public = directory / f"{name}.pem", directory / f"{name}.pub"
    algorithm, option = ("RSA", "rsa_keygen_bits:2048") if curve is None else ("EC", f"ec_paramgen_curve:{curve}")
    locked = [] if passphrase is None else ["-aes256", "-pass", f"pass:{passphrase}"]
    unlocked = [] if passphrase is None else ["-passin", f"pass:{passphrase}"]
    for command in (
        ["genpkey", "-algorithm", algorithm, "-pkeyopt", option, *locked, "-out", private],
        ["pkey", "-in", private, *unlocked, "-pubout", "-out", public],
    ):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
