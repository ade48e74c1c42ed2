"""Real servers, real HTTP, real `kill -9`: the demo and the storm as a person starts them."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import time
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import pytest
from servers import demo, free_port, manage, page

from tour.objects import Hold
from tour.storm.client import loopback
from tour.storm.load import Load, Outcome
from tour.storm.proof import prove

NOW = datetime.now(UTC)


def test_demo_runs_twice_and_ends_when_it_is_asked_to(tmp_path: Path) -> None:
    port = free_port()
    for _ in range(2):
        with demo(tmp_path, port) as (process, banner):
            url = f"http://127.0.0.1:{port}/"
            assert url in banner
            assert re.search(r"user admin, password \S{12}", banner)
            front = page(url)
            assert "Zürich" in front
            assert front.count("<li class=") == 4
            assert "<b data-left>100</b>" in page(url + "zurich/")
            assert "--night" in page(url + "static/tour/tour.css")
            process.send_signal(signal.SIGINT)
            assert process.wait(30) == 0


def test_what_was_held_is_still_held_after_kill_minus_nine(tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api/sales/zurich/"
    request = urllib.request.Request(url + "reserve", b'{"buyer": "ann", "call_id": "a", "n": 3}', {"Content-Type": "application/json"})
    with demo(tmp_path, port) as (process, _):
        with urllib.request.urlopen(request, timeout=20) as response:
            first = json.load(response)
        process.kill()
    with demo(tmp_path, port):
        started = time.monotonic()
        assert json.loads(page(url))["left"] == 97
        assert time.monotonic() - started < 10
        with urllib.request.urlopen(request, timeout=20) as response:
            assert json.load(response) == first


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = manage(tmp_path, "demo", "--port", str(port))
    assert result.returncode == 1
    assert f"make demo PORT={port + 1}" in result.stderr


def test_storm_against_a_running_server_sells_exactly_the_tickets(tmp_path: Path) -> None:
    port = free_port()
    with demo(tmp_path, port):
        result = manage(tmp_path, "storm", "--url", f"http://127.0.0.1:{port}", "--buyers", "300", "--tickets", "40", "--concurrency", "32")
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"sold +40\n +refused +260\n +unknown +0\n", result.stdout)
    assert result.stdout.count("  ok  ") == 6


def test_storm_sells_exactly_the_tickets_while_the_server_is_killed(tmp_path: Path) -> None:
    result = manage(tmp_path, "storm", "--kills", "3", "--buyers", "300", "--tickets", "60", "--concurrency", "32", "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    figures = json.loads(result.stdout)
    assert (figures["sold"], figures["refused"], figures["unknown"], figures["kills"]) == (60, 240, 0, 3)
    assert figures["sent_again"] > 0
    assert figures["ok"]
    assert all(figures["checks"].values())


def test_storm_on_another_database_says_so(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    port = free_port()
    with demo(tmp_path / "one", port):
        assert manage(tmp_path / "two", "migrate", "-v0").returncode == 0
        result = manage(tmp_path / "two", "storm", "--url", f"http://127.0.0.1:{port}")
    assert result.returncode == 1
    assert "uses another database" in result.stderr


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/", "http://10.0.0.1:8000", "https://127.0.0.1/", "127.0.0.1:8000", "http://0.0.0.0/", "http://[2001:db8::1]/"]
)
def test_storm_goes_to_this_machine_only(url: str) -> None:
    with pytest.raises(ValueError, match=r"machine|http://"):
        loopback(url)


@pytest.mark.parametrize(
    ("url", "address"),
    [("http://127.0.0.1:8000/", ("127.0.0.1", 8000)), ("http://[::1]", ("::1", 80)), ("http://127.9.9.9:1", ("127.9.9.9", 1))],
)
def test_storm_takes_loopback_addresses(url: str, address: tuple[str, int]) -> None:
    assert loopback(url) == address


class Liar(Load):
    """A storm whose answers are made up."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome

    async def ask_again(self, buyers: list[str]) -> list[str]:
        return []


@pytest.mark.parametrize(
    ("held", "shown", "broken"),
    [
        ({"a": (1,), "b": (2,)}, 0, set()),
        ({"a": (1,), "b": (1,)}, 0, {"no seat is held twice"}),
        ({"a": (1,), "b": (3,)}, 0, {"no seat is held twice"}),
        ({"a": (1,)}, 0, {"every buyer knows", "exactly 2 were told yes", "no seat is held twice"}),
        ({"a": (1,), "b": (2,)}, 1, {"the server says the same"}),
    ],
)
def test_a_lie_is_caught(held: dict[str, tuple[int, ...]], shown: int, broken: set[str]) -> None:
    everyone = {"a", "b", "c"}
    outcome = Outcome(held=held, refused={"c": "SoldOut"}, unknown=everyone - {"c"} - held.keys())
    state = {"holds": {buyer: Hold(seats, NOW) for buyer, seats in held.items()}}
    checks = asyncio.run(prove(Liar(outcome), 2, 3, {"left": shown, "tickets": 2}, state))
    assert {check.claim for check in checks if not check.holds} == broken


def test_a_hold_that_nobody_was_told_of_is_caught() -> None:
    outcome = Outcome(held={"a": (1,)}, refused={"b": "SoldOut"})
    state = {"holds": {"a": Hold((1,), NOW), "b": Hold((2,), NOW)}}
    checks = asyncio.run(prove(Liar(outcome), 1, 2, {"left": 0, "tickets": 1}, state))
    assert [check.claim for check in checks if not check.holds] == ["the database says the same, buyer by buyer"]
