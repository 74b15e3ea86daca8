"""Draw docs/pictures/report.png: the report of the README's failing verdict, in chromium.

PYTHONPATH=tests/lib .venv/bin/python benchmarks/report_picture.py
Needs chromium and chromedriver (Debian: chromium-driver).
"""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from helpers.command_line import run
from helpers.wrong_file import export_with_k_permuted_by_n_heads
from selenium import webdriver

from verify.demo import CHECKPOINT, HELD_OUT_TEXT

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "report.png"
WIDTH, HEIGHT, SCALE = 1150, 978, 1.25


def failing_report(directory: Path) -> Path:
    """Verify the wrong file as the README does; print the verdict and return the page."""
    shutil.copy(CHECKPOINT, directory / "model.pt")
    shutil.copy(CHECKPOINT.with_name("tokenizer.model"), directory)
    shutil.copy(HELD_OUT_TEXT, directory)
    # short paths in the report, as a user would see them
    with contextlib.chdir(directory):
        export_with_k_permuted_by_n_heads(Path("model.pt"), Path("model.bin"))
        print(run("verify", "model.pt", "model.bin", "--text", "heldout.txt", "--report", "report").stdout)
    return directory / "report" / "report.html"


def draw(page: Path) -> bytes:
    """The top of the page as a PNG, in the light theme."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--hide-scrollbars")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        light = [{"name": "prefers-color-scheme", "value": "light"}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": light})
        size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": SCALE, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        browser.get(page.as_uri())
        shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    finally:
        browser.quit()
    return base64.b64decode(shot["data"])


def main() -> None:
    os.environ["COLUMNS"] = "160"
    with tempfile.TemporaryDirectory() as directory:
        PICTURE.write_bytes(draw(failing_report(Path(directory))))
    print(f"wrote {PICTURE}")


if __name__ == "__main__":
    main()
