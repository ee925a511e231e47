"""Interactive pages in tests: their data, and a headless Chromium that opens them."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",  # the tests may run as root
    "--disable-background-networking",
    "--disable-component-update",
    "--host-resolver-rules=MAP * ~NOTFOUND",
    "--use-angle=swiftshader",  # WebGL without a graphics card
    "--enable-unsafe-swiftshader",
    "--force-device-scale-factor=1",
    "--window-size=1000,800",
)
READY_S = 120  # limit for a busy machine


class _Scripts(HTMLParser):
    """Collect the text of all script elements, and the names of all elements."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.scripts: list[str] = []
        self.data = ""

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.elements.append(tag)
        self._is_data = ("id", "data") in attributes
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, text: str) -> None:
        if self.elements and self.elements[-1] == "script":
            self.scripts[-1] += text
            if self._is_data:
                self.data += text


def parse_page(path: Path) -> _Scripts:
    """Parse a page as a browser does."""
    parser = _Scripts()
    parser.feed(path.read_text(encoding="utf-8"))
    parser.close()
    return parser


def page_data(path: Path) -> dict[str, Any]:
    """Return the data of a page."""
    return json.loads(parse_page(path).data)


def decoded(url: str) -> np.ndarray:
    """Decode an image of a page: (h, w, 3) uint8 BGR."""
    return cv2.imdecode(np.frombuffer(base64.b64decode(url.split(",", 1)[1]), np.uint8), cv2.IMREAD_COLOR)


class Browser:
    """A page in Chromium.

    Attributes:
        driver: Selenium's driver.
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, path: Path) -> None:
        """Open a file and wait until its script has run."""
        from selenium.webdriver.support.ui import WebDriverWait

        self.messages()
        self.requests()  # drops requests of earlier pages
        self.driver.get(path.resolve().as_uri())
        WebDriverWait(self.driver, READY_S).until(
            lambda _: self.run("document.documentElement.dataset.ready") == "true"
        )
        self.settle()

    def run(self, expression: str) -> Any:
        """Evaluate JavaScript."""
        return self.driver.execute_script(f"return {expression};")

    def settle(self) -> None:
        """Wait until everything that is scheduled is drawn."""
        self.driver.execute_async_script(
            "const done = arguments[0]; requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done)));"
        )

    def click(self, name: str) -> None:
        """Click the element with an id."""
        self.driver.find_element("id", name).click()
        self.settle()

    def drag(self, name: str, right: int, down: int) -> None:
        """Drag the mouse from the middle of the element with an id, px."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver, duration=0).drag_and_drop_by_offset(
            self.driver.find_element("id", name), right, down
        ).perform()
        self.settle()

    def text(self, name: str) -> str:
        """Return the visible text of the element with an id."""
        return self.driver.find_element("id", name).text

    def picture(self, name: str) -> np.ndarray:
        """Return a screenshot of the element with an id, (h, w, 3) BGR."""
        return cv2.imdecode(
            np.frombuffer(self.driver.find_element("id", name).screenshot_as_png, np.uint8), cv2.IMREAD_COLOR
        )

    def messages(self) -> list[str]:
        """Return new console messages."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Return the addresses of new requests, without data: addresses."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        urls = [one["params"]["request"]["url"] for one in events if one["method"] == "Network.requestWillBeSent"]
        return [url for url in urls if not url.startswith("data:")]


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Start Chromium; skip the test if it is not installed."""
    webdriver = pytest.importorskip("selenium.webdriver")
    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("needs Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield Browser(session)
    finally:
        session.quit()
