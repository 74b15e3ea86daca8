"""report.html in a browser: from a local file, by keyboard alone, narrow and wide, light and dark."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.reports import GUILTY, failing, passing, replaced

from verify.checks.baseline import BaselineComparison
from verify.checks.operations import LayerReport
from verify.checks.result import within
from verify.checks.tensors import TensorReport
from verify.report.findings import Baseline
from verify.report.model import Report
from verify.report.tensor_csv import tensor_csv

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
if CHROMIUM is None or DRIVER is None:
    pytest.skip("a browser is needed: chromium and chromedriver (Debian: chromium-driver)", allow_module_level=True)

from selenium import webdriver  # noqa: E402  # after the skip
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

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


def healthy(layers: int) -> Report:
    """A model of so many layers that passes, with errors at all distances from the bound."""
    operations = ("attention_norm", "q scale", "q int8", "q", "q_rotated", "attended", "attention_residual", "gated")
    found = [LayerReport("q8", None, "embedding", 0.0, 0.0, {"window": 0, "position": 0, "index": [0]})]
    for layer in range(layers):
        for n, operation in enumerate(operations):
            ratio = min(0.99999, (layer + 1) / layers * (n + 1) / len(operations))
            found.append(
                LayerReport("q8", layer, operation, 1e-6, ratio, {"window": 0, "position": 13, "index": [20]})
            )
    versions = {"python": "3.11.7", "export-and-verify": "0.1.0", "torch": "2.13.0+cpu", "transformers": "5.24.0"}
    return dataclasses.replace(
        passing(),
        layers=tuple(found),
        date="2026-11-28T15:20:12Z",
        source={**passing().source, "path": "/models/meta-llama/Llama-3.1-8B-Instruct"},
        environment={**passing().environment, "versions": versions},
        baseline=Baseline("base.json", "ab" * 32, {**passing().file, "path": "old.bin", "bytes": 900}, (NO_WORSE,)),
    )


NO_WORSE = BaselineComparison("kl_mean", "fp32", "text", 3, 0.001, 0.001000001, 1e-9, (-1e-3, 1e-6), 1e-5)


def unlikely() -> Report:
    """Every operation is right, but the logits and the storage are beyond what chance explains."""
    execution = within("execution", "statistical", 10.00001, 10.0, "10.00001 standard deviations", {"window": 0})
    storage = within("storage", "statistical", 61.5, 6.0, "int8 activations: 61.50 standard deviations", {})
    return dataclasses.replace(passing(), checks=replaced(passing().checks, execution, storage))


REPORTS = {
    "pass": passing,
    "fail": failing,
    "deep": deep,
    "30 layers": lambda: healthy(30),
    "80 layers": lambda: healthy(80),
    "unlikely": unlikely,
}
WIDTHS = (360, 768, 900, 1000, 1200, 1400, 1920)
LAYOUT = Path(__file__).with_name("page_layout.js").read_text(encoding="utf-8")


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

    def load(name: str, width: int = 1400, theme: str = "light", media: str = "screen") -> Browser:
        path = tmp_path / "report.html"
        path.write_text(REPORTS[name]().to_html(), encoding="utf-8")
        scheme = [{"name": "prefers-color-scheme", "value": theme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme, "media": media})
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
    assert browser.find_element(By.TAG_NAME, "h1").text.split()[-1] == REPORTS[name]().verdict.upper()


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


@pytest.mark.parametrize("width", [320, 390])
@pytest.mark.parametrize("name", REPORTS)
def test_the_page_is_never_wider_than_the_screen(page: Any, name: str, width: int) -> None:
    browser = page(name, width)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width


def laid_out(browser: Browser) -> list[str]:
    """What is wrong with the layout, with every closed part open."""
    browser.execute_script("for (const part of document.querySelectorAll('details')) part.open = true")
    return list(browser.execute_script(LAYOUT))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", REPORTS)
def test_no_word_breaks_nothing_is_cut_and_all_text_stands_out(page: Any, name: str, width: int, theme: str) -> None:
    assert laid_out(page(name, width, theme)) == []


@pytest.mark.parametrize("name", REPORTS)
def test_the_same_holds_on_paper(page: Any, name: str) -> None:
    # 182 mm at 96 dots per inch: A4 within its margins
    assert laid_out(page(name, 688, "dark", "print")) == []


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (".pairs dd { width: 1ch; overflow-wrap: anywhere }", "broken word: "),
        (".checks { width: 120vw }", "page: "),
        (".lead { color: color-mix(in srgb, var(--quiet) 60%, var(--surface)) }", "contrast "),
        (".strip .what { width: 1ch }", "wider than its cell: "),
    ],
)
def test_the_check_of_the_layout_notices(page: Any, spoil: str, words: str) -> None:
    browser = page("30 layers", 1000)
    assert laid_out(browser) == []
    browser.execute_script(
        "const style = document.createElement('style');style.textContent = arguments[0]; document.head.append(style)",
        spoil,
    )
    assert any(sentence.startswith(words) for sentence in laid_out(browser))


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["deep", "30 layers", "80 layers"])
def test_every_cell_of_the_map_can_be_seen_and_the_map_fills_its_width(page: Any, name: str, width: int) -> None:
    browser = page(name, width)
    frame, table, narrowest, right = browser.execute_script(
        "const table = document.querySelector('[role=grid]'), frame = table.parentElement;"
        "const boxes = [...table.querySelectorAll('[role=gridcell]')].map((cell) => cell.getBoundingClientRect());"
        "frame.scrollLeft = frame.scrollWidth;"
        "const most = Math.max(...[...table.querySelectorAll('[role=gridcell]')]"
        "  .map((cell) => cell.getBoundingClientRect().right));"
        "return [frame.clientWidth, table.offsetWidth, Math.min(...boxes.map((box) => box.width)),"
        "  most - frame.getBoundingClientRect().right]"
    )
    assert table >= frame
    assert narrowest >= 10
    # the last layer is within the frame, once it is scrolled there; only a narrow screen scrolls
    assert right <= 1
    if width >= 1000:
        assert table == frame


def strength(browser: Browser, cell: Any) -> float:
    """How far the colour of a cell is from that of the page."""
    script = (
        "const rgb = (e) => getComputedStyle(e).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number);"
        "const [cell, page] = [rgb(arguments[0]), rgb(arguments[0].closest('section'))];"
        "return Math.hypot(...cell.map((c, n) => c - page[n]))"
    )
    return float(browser.execute_script(script, cell))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colour_means_the_distance_to_the_bound(page: Any, theme: str) -> None:
    browser = page("30 layers", theme=theme)
    cells = browser.find_elements(By.CSS_SELECTOR, "[role=grid] tr:last-of-type [role=gridcell]")
    found = [strength(browser, cell) for cell in cells]
    assert len(found) == 30
    assert found == sorted(found)
    # a healthy cell is pale, one at the bound is not
    assert found[0] < 40
    assert found[-1] > 200


def tip(browser: Browser) -> Any:
    return browser.find_element(By.ID, "tip")


@pytest.mark.parametrize("width", [360, 1400])
def test_a_word_is_explained_on_hover_and_on_focus_within_the_window(page: Any, width: int) -> None:
    browser = page("pass", width)
    assert not tip(browser).is_displayed()
    for word in browser.find_elements(By.CSS_SELECTOR, "a.term")[:12]:
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", word)
        webdriver.ActionChains(browser).move_to_element(word).perform()
        assert tip(browser).text == word.get_attribute("data-tip")
        left, right = browser.execute_script(
            "const box = document.getElementById('tip').getBoundingClientRect();"
            "return [box.left, innerWidth - box.right]"
        )
        assert min(left, right) >= 0
    webdriver.ActionChains(browser).move_to_element(browser.find_element(By.TAG_NAME, "h2")).perform()
    assert not tip(browser).is_displayed()
    # focus comes first, scrolling after it
    browser.execute_script("scrollTo(0, document.body.scrollHeight); arguments[0].focus()", word)
    assert tip(browser).text == word.get_attribute("data-tip")
    focused(browser).send_keys(Keys.ESCAPE)
    assert not tip(browser).is_displayed()


def test_the_tensors_are_saved_without_a_network(page: Any, tmp_path: Path) -> None:
    browser = page("deep")
    where = {"behavior": "allow", "downloadPath": str(tmp_path / "saved")}
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", where)
    browser.find_element(By.CSS_SELECTOR, "a[download]").click()
    saved = tmp_path / "saved" / "model.bin.tensors.csv"
    WebDriverWait(browser, 20).until(lambda _: saved.exists())
    assert saved.read_text(encoding="utf-8") == tensor_csv(deep().tensors)
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if url.startswith("http")] == []


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
