"""The HTML page of a report in a headless browser: no errors, no requests, usable charts and tables."""

import base64
import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from support.pages import EVIL, write_matrix
from support.run_folders import write_run

from mcl.__main__ import main

pytest.importorskip("plotly")
pytest.importorskip("selenium")

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(None in (BROWSER, DRIVER), reason="needs Chromium and its driver")
OPTIONS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)
READY = "document.documentElement.dataset.ready"
CHARTS = ("accuracy", "terms", "pace", "cost", "matching", "confusion")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of a page with everything: seeds, losses, a failed run, odd names, a confusion matrix."""
    place = tmp_path_factory.mktemp("page")
    for seed in range(3):
        for loss in ("independent", "lmcl"):
            folder = write_run(place, loss, seed, [70.0 + seed, 73.0], matching=loss == "lmcl")
            line = {"step": 10, "epoch": 1, "time": 1.0, "train/total": 3.0 - seed, "train/vcl": 1.0, "train/lr": 0.1}
            with open(folder / "metrics.jsonl", "a") as file:
                file.write(json.dumps(line) + "\n")
    write_matrix(folder, ["cat", EVIL], [[5, 1], [2, 4]])
    failed = write_run(place, "mcl", 0, [70.0, 70.0], networks=(EVIL, "b"), finished=False)
    (failed / "failure.json").write_text(json.dumps({"status": "failed", "error": EVIL, "message": EVIL, "step": 1}))
    assert main(["report", str(place), "--html"]) == 0
    return (place / "report.html").as_uri()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    assert BROWSER is not None
    options.binary_location = BROWSER
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER)) as driver:
        yield driver


@pytest.fixture(scope="module")
def opened(browser: Any, address: str) -> Any:
    """Open the page once per session, because this takes long on a busy machine."""
    browser.get_log("performance")  # what the browser asked for by itself
    browser.get(address)
    wait_for(browser, READY)
    return browser


@pytest.fixture
def at_page(opened: Any, address: str) -> Iterator[Any]:
    """Return the browser at the page; afterwards, check for errors and requests."""
    yield opened
    assert opened.get_log("browser") == []
    assert opened.execute_script("return window.hacked") is None
    messages = [json.loads(entry["message"])["message"] for entry in opened.get_log("performance")]
    requested = [
        message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
    ]
    assert {url for url in requested if not url.startswith(("data:", "blob:"))} <= {address}


def wait_for(browser: Any, script: str) -> None:
    """Wait until a value of the page is true; effects of an event appear some frames later."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 60).until(lambda _: browser.execute_script(f"return {script}"), f"never true: {script}")


def lines_of(browser: Any, chart: str) -> list[str]:
    """Return the name of each line of a chart, with its run."""
    names: list[str] = browser.execute_script(
        "return document.querySelector(arguments[0]).data.map(of => `${of.name}: ${of.meta}`)",
        f"#chart-{chart} .plot",
    )
    return names


def choose(browser: Any, chart: str, name: str) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    for element in browser.find_elements(By.CSS_SELECTOR, f"#chart-{chart} select"):
        if any(option.text == name for option in Select(element).options):
            return Select(element).select_by_visible_text(name)
    raise AssertionError(f"{chart}: no {name}")


def luminance(browser: Any, script: str) -> float:
    """Return the luminance of a color, from 0 to 255."""
    text = browser.execute_script(f"return {script}")
    red, green, blue = (float(part) for part in text.strip("rgba()").split(",")[:3])
    return 0.299 * red + 0.587 * green + 0.114 * blue


def test_every_chart_is_drawn(at_page: Any) -> None:
    drawn = at_page.execute_script(
        "return [...document.querySelectorAll('.chart')].filter(of => of.querySelector('.main-svg')).map(of => of.id)"
    )
    assert drawn == [f"chart-{name}" for name in CHARTS]
    # the rows coincide and share one line; a run that coincides with their mean is not drawn again
    seeds = [f"{row}: seed {seed}" for row in ("independent", "lmcl") for seed in (0, 2)]
    drawn_lines = [line for line in lines_of(at_page, "accuracy") if not line.startswith("band")]
    assert drawn_lines == [*seeds, "independent and lmcl: mean of 3 runs"]


def test_chart_toolbar_has_only_local_buttons(at_page: Any) -> None:
    titles = at_page.execute_script(
        "return [...new Set([...document.querySelectorAll('.modebar-btn')].map(of => of.dataset.title))]"
    )
    assert [title.removesuffix(" as a PNG") for title in titles] == ["Download plot", "Zoom", "Pan", "Reset axes"]


def test_hovering_a_point_shows_its_values(at_page: Any) -> None:
    hover_text = at_page.execute_script(
        "const plot = document.querySelector('#chart-accuracy .plot');"
        "Plotly.Fx.hover(plot, [{curveNumber: plot.data.length - 1, pointNumber: 3}]);"
        "return [...plot.querySelectorAll('.hovertext tspan')].map(of => of.textContent).join(' ')"
    )
    assert "lmcl" in hover_text
    assert "epoch 4: 72.00 %" in hover_text


def test_chart_contents_can_be_chosen(at_page: Any) -> None:
    script = "return document.querySelector('#chart-accuracy .plot').data.at(-1).y.at(-1)"
    assert at_page.execute_script(script) == 72
    choose(at_page, "accuracy", "second (resnet8), backbone")
    assert at_page.execute_script(script) == 73
    at_page.execute_script("document.querySelector('#chart-accuracy input').click()")
    # both have 73 %, so one line has both names
    assert lines_of(at_page, "accuracy")[-1] == "independent and lmcl: mean of 3 runs"
    assert "coincide" in at_page.execute_script("return document.querySelector('#chart-accuracy .note').textContent")


def test_slider_goes_through_training(at_page: Any) -> None:
    script = """
        const slider = document.querySelector("#chart-matching input");
        slider.value = arguments[0];
        slider.dispatchEvent(new Event("input"));
        const plot = document.querySelector("#chart-matching .plot");
        return [slider.getAttribute("aria-valuetext"), plot.data[0].z[0][0]];
    """
    assert [at_page.execute_script(script, moment) for moment in (0, 3)] == [["epoch 1", 0.5125], ["epoch 4", 0.55]]


def test_tables_can_be_sorted(at_page: Any) -> None:
    script = """
        const table = document.querySelector("#runs ~ .table table");
        const header = [...table.tHead.rows[0].cells].find((of) => of.textContent === arguments[0]);
        header.querySelector("button").click();
        return [header.ariaSort, [...table.tBodies[0].rows].map((row) => row.cells[header.cellIndex].textContent)];
    """
    order, first = at_page.execute_script(script, "first")
    assert order == "ascending"
    assert first == ["70.00", "70.00", "71.00", "71.00", "72.00", "72.00", "–"]
    order, first = at_page.execute_script(script, "first")
    assert (order, first[0], first[-1]) == ("descending", "72.00", "–")


def test_page_follows_dark_mode(at_page: Any) -> None:
    page = "getComputedStyle(document.body).backgroundColor"
    text = "getComputedStyle(document.querySelector('#chart-accuracy .xtick text')).fill"

    def want(scheme: str) -> None:
        before = at_page.execute_script(f"return {text}")
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        at_page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
        wait_for(at_page, f"{text} != '{before}'")

    assert luminance(at_page, page) > 200
    assert luminance(at_page, text) < 100
    want("dark")
    assert luminance(at_page, page) < 50
    assert luminance(at_page, text) > 150
    want("light")
    assert luminance(at_page, page) > 200
    assert luminance(at_page, text) < 100


def test_page_can_be_printed(at_page: Any) -> None:
    printed = at_page.execute_cdp_cmd("Page.printToPDF", {"printBackground": False})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")


def test_page_fits_a_phone(at_page: Any) -> None:
    screen = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    at_page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    at_page.refresh()
    wait_for(at_page, READY)
    assert at_page.execute_script("return [document.documentElement.scrollWidth, innerWidth]") == [390, 390]
    wide = (
        "return [...document.querySelectorAll('.main-svg')].filter(of => of.getBoundingClientRect().right > 390).length"
    )
    assert at_page.execute_script(wide) == 0
    assert at_page.execute_script("return document.querySelector('nav details').open") is False
