"""The pages in a real browser: what the script adds, and that nothing is lost without it."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest
from browser import Browser, Page, executable
from servers import demo, free_port

pytestmark = pytest.mark.skipif(executable() is None, reason="not applicable: there is no Chromium on this machine")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    port = free_port()
    with demo(tmp_path_factory.mktemp("site"), port):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.page()
    yield opened
    assert opened.complaints() == []


def buy_elsewhere(site: str, sale: str, buyer: str, n: int) -> None:
    body = json.dumps({"buyer": buyer, "call_id": "a", "n": n}).encode()
    request = urllib.request.Request(f"{site}api/sales/{sale}/reserve", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=20):
        pass


def test_the_stock_moves_while_one_watches(site: str, page: Page) -> None:
    page.open(site + "leipzig/")
    assert page.value("document.querySelector('[data-left]').textContent") == "240"
    page.value("window.sameDocument = true")
    buy_elsewhere(site, "leipzig", "somebody", 4)
    page.until("document.querySelector('[data-left]').textContent === '236'")
    assert page.value("document.querySelectorAll('circle.taken').length") == 4
    page.until("document.querySelector('[data-activity]').innerText.includes('took 4 seats')")
    assert page.value("window.sameDocument")


def test_a_double_click_buys_once(site: str, page: Page) -> None:
    page.open(site + "zurich/")
    page.click("[data-buy] button", times=2)
    page.until("document.querySelectorAll('circle.yours').length === 1")
    page.until("/9:\\d\\d to go|10:00 to go/.test(document.body.innerText)")
    assert page.value("document.querySelector('[data-left]').textContent") == "99"
    page.click(".stub button")
    page.until("document.querySelectorAll('circle.yours').length === 0 && document.readyState === 'complete'")
    assert "back on sale" in page.text()


def test_everything_works_without_scripts(site: str, page: Page) -> None:
    page.without_scripts()
    page.open(site + "ghent/")
    page.click("[data-buy] button")
    page.until("document.querySelectorAll('circle.yours').length === 1")
    page.click(".stub button")
    page.until("document.querySelectorAll('circle.yours').length === 0 && document.body.innerText.includes('back on sale')")


def test_the_page_turns_when_the_last_seat_goes(site: str, page: Page) -> None:
    page.open(site + "lisbon/")
    for number in range(9):
        buy_elsewhere(site, "lisbon", f"fan-{number}", 4)
    page.until("document.body.innerText.toUpperCase().includes('SOLD OUT')")


@pytest.mark.parametrize("path", ["", "zurich/"])
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(site: str, page: Page, path: str, width: int) -> None:
    page.resize(width, 800)
    page.open(site + path)
    assert page.value("document.documentElement.scrollWidth") <= width


def test_every_control_has_a_name_and_text_is_legible(site: str, page: Page) -> None:
    page.open(site + "zurich/")
    assert page.value(
        "[...document.querySelectorAll('button, a, select')].every(e => (e.innerText || e.labels?.[0]?.innerText || '').trim())"
    )
    assert page.value("document.querySelector('.house svg').getAttribute('aria-label')").startswith("The house: ")
    assert page.value("document.documentElement.lang") == "en"
