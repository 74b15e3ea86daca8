"""report.html in a browser: from a local file, by keyboard alone, narrow and wide, light and dark."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.reports import GUILTY, failing, passing

from verify.checks.operations import LayerReport
from verify.checks.tensors import TensorReport
from verify.report.model import Report

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip("a browser is needed: chromium and chromedriver (Debian: chromium-driver)", allow_module_level=True)

from selenium import webdriver  # noqa: E402  # after the skip
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

pytestmark = pytest.mark.slow

Browser = webdriver.Chrome

LAYERS = 80
FAILED = (31, "down")


def deep() -> Report:
    """As many layers as a large model has, one operation of which failed, and many tensors."""
    operations = ("attention_norm", "q", "k", "v", "scores", "shares", "attended", "gate", "up", "down")
    layers = [LayerReport("fp32", None, "embedding", 0.0, 0.0, {"window": 0, "position": 0, "index": [0]})]
    for layer in range(LAYERS):
        for operation in operations:
            ratio = 1834.0 if (layer, operation) == FAILED else 0.001 * (layer + 1)
            where = {"window": 0, "position": 136, "index": [20], "expected": 0.5, "found": 0.875, "tensor": GUILTY}
            weight = {"row": 20, "column": 77, "delta": 0.07, "explained": 1.0, "rows": 1} if ratio > 1 else {}
            layers.append(LayerReport("fp32", layer, operation, 0.1, ratio, where | weight))
    tensors = [
        TensorReport(f"layers.{n}.w", (48, 40), "q8_0", 8, 0.01 * (n % 7), 0.011, 0.9 - 0.001 * n, 0.001, 40.0 + n)
        for n in range(60)
    ]
    tensors.append(TensorReport("norm.weight", (48,), "fp32", 0, 0.0, None, None, 0.0, None))
    return dataclasses.replace(failing(), layers=tuple(layers), tensors=tuple(tensors))


REPORTS = {"pass": passing, "fail": failing, "deep": deep}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Any:
    """open(name, width, theme) -> the browser, at a report that was just loaded from a file."""

    def load(name: str, width: int = 1400, theme: str = "light") -> Browser:
        path = tmp_path / "report.html"
        path.write_text(REPORTS[name]().to_html(), encoding="utf-8")
        scheme = [{"name": "prefers-color-scheme", "value": theme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        browser.get("about:blank")
        for log in ("browser", "performance"):
            browser.get_log(log)
        browser.get(path.as_uri())
        return browser

    return load


def ground(browser: Browser) -> str:
    return str(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))


def focused(browser: Browser) -> Any:
    return browser.switch_to.active_element


def panel(browser: Browser) -> str:
    return browser.find_element(By.CSS_SELECTOR, ".panel").text


@pytest.mark.parametrize("name", REPORTS)
def test_it_loads_from_a_file_without_an_error_or_a_request(page: Any, name: str) -> None:
    browser = page(name)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [browser.current_url]
    assert browser.find_element(By.TAG_NAME, "h1").text.split()[-1] == ("PASS" if name == "pass" else "FAIL")


@pytest.mark.parametrize("name", REPORTS)
def test_heat_maps_and_plots_are_drawn(page: Any, name: str) -> None:
    browser = page(name)
    report = REPORTS[name]()
    cells = browser.find_elements(By.CSS_SELECTOR, "[role=gridcell]")
    assert len(cells) == len(report.layers)
    assert all(cell.size["width"] > 10 and cell.size["height"] > 10 for cell in cells[:40])
    figures = browser.find_elements(By.CSS_SELECTOR, ".plot svg")
    # KL and logit error of text, random and fixed
    assert len(figures) == 6
    for figure in figures:
        assert figure.size["width"] > 100
        assert figure.find_elements(By.CSS_SELECTOR, "path.median")[0].get_attribute("d").startswith("M")
    assert browser.find_elements(By.CSS_SELECTOR, ".field .mark")


@pytest.mark.parametrize("width", [320, 390, 768, 1400])
@pytest.mark.parametrize("name", REPORTS)
def test_the_page_is_never_wider_than_the_screen(page: Any, name: str, width: int) -> None:
    browser = page(name, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_theme_is_the_system_s_until_it_is_switched_and_then_kept(page: Any, theme: str) -> None:
    browser = page("fail", theme=theme)
    first = ground(browser)
    browser.find_element(By.ID, "theme").click()
    second = ground(browser)
    assert first != second
    browser.refresh()
    assert ground(browser) == second
    browser.find_element(By.ID, "theme").click()
    assert ground(browser) == first
    browser.execute_script("sessionStorage.clear()")


def test_the_two_themes_are_light_and_dark(page: Any) -> None:
    light, dark = (
        sum(map(int, ground(page("pass", theme=theme)).removeprefix("rgb(").removesuffix(")").split(",")))
        for theme in ("light", "dark")
    )
    assert dark < 150
    assert light > 600


@pytest.mark.parametrize("width", [390, 1400])
def test_the_failing_cell_is_reached_by_keyboard_alone_and_tells_what_it_knows(page: Any, width: int) -> None:
    browser = page("deep", width)
    for _ in range(40):
        focused(browser).send_keys(Keys.TAB)
        if focused(browser).get_attribute("data-go"):
            break
    focused(browser).send_keys(Keys.ENTER)
    cell = focused(browser)
    assert "failed" in cell.get_attribute("class")
    told = panel(browser)
    for word in ("layer 31 down", "1834, beyond the limit of 1", "position 136", "0.875", GUILTY, "[20, 77]"):
        assert word in told
    # in sight, and not below the names of the rows
    left, right = browser.execute_script(
        "const cell = arguments[0].getBoundingClientRect(),"
        " name = arguments[0].parentElement.firstElementChild.getBoundingClientRect();"
        "return [cell.left - name.right, innerWidth - cell.right]",
        cell,
    )
    assert left >= 0
    assert right >= 0


def test_arrow_keys_move_between_cells_and_the_map_is_one_stop_of_the_tabulator(page: Any) -> None:
    browser = page("deep")
    browser.find_element(By.CSS_SELECTOR, "[data-go]").click()
    focused(browser).send_keys(Keys.ARROW_UP)
    assert panel(browser).startswith("layer 31 up")
    focused(browser).send_keys(Keys.ARROW_RIGHT)
    assert panel(browser).startswith("layer 32 up")
    focused(browser).send_keys(Keys.ARROW_LEFT, Keys.ARROW_DOWN)
    assert "failed" in focused(browser).get_attribute("class")
    focused(browser).send_keys(Keys.HOME)
    assert panel(browser).startswith("layer 0 down")
    focused(browser).send_keys(Keys.END)
    assert panel(browser).startswith(f"layer {LAYERS - 1} down")
    # at the edge it stays
    focused(browser).send_keys(Keys.ARROW_RIGHT)
    assert panel(browser).startswith(f"layer {LAYERS - 1} down")
    focused(browser).send_keys(Keys.TAB)
    assert focused(browser).get_attribute("role") != "gridcell"


def test_a_failing_cell_differs_in_more_than_its_colour(page: Any) -> None:
    browser = page("deep")
    failed = browser.find_elements(By.CSS_SELECTOR, "[role=gridcell].failed")
    assert [cell.text for cell in failed] == ["✕"]


def column(browser: Browser, number: int) -> list[str]:
    """What the rows that can be seen say."""
    rows = browser.find_elements(By.CSS_SELECTOR, "#tensor-rows tbody tr")
    return [row.find_elements(By.XPATH, "*")[number].text for row in rows if row.is_displayed()]


def test_a_heading_sorts_and_what_is_missing_stays_last(page: Any) -> None:
    browser = page("deep")
    browser.find_element(By.CSS_SELECTOR, "[data-more=tensor-rows]").click()
    heading = browser.find_elements(By.CSS_SELECTOR, "#tensor-rows thead th")[4]
    for direction in ("descending", "ascending"):
        heading.find_element(By.TAG_NAME, "button").click()
        assert heading.get_attribute("aria-sort") == direction
        *found, missing = column(browser, 4)
        assert missing == "-"
        assert list(map(float, found)) == sorted(map(float, found), reverse=direction == "descending")
    names = browser.find_elements(By.CSS_SELECTOR, "#tensor-rows thead th")[0]
    names.find_element(By.TAG_NAME, "button").click()
    assert heading.get_attribute("aria-sort") == "none"
    assert column(browser, 0)[:3] == ["layers.0.w", "layers.1.w", "layers.2.w"]


def test_long_lists_are_short_until_asked(page: Any) -> None:
    browser = page("deep")
    assert len(column(browser, 0)) == 20
    button = browser.find_element(By.CSS_SELECTOR, "[data-more=tensor-rows]")
    button.click()
    assert len(column(browser, 0)) == 61
    assert button.get_attribute("aria-expanded") == "true"
    button.click()
    assert len(column(browser, 0)) == 20


def test_without_scripts_everything_is_there(page: Any) -> None:
    browser = page("deep")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.refresh()
        assert "layer 31 down" in panel(browser)
        assert len(column(browser, 0)) == 61
        for useless in browser.find_elements(By.CSS_SELECTOR, "#theme, [data-go], [data-more], [data-copy]"):
            assert not useless.is_displayed()
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
