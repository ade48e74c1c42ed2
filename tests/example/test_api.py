"""The JSON side: what the page polls and the storm drives."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from jido_objects.errors import OutcomeUnknown
from jido_objects.refs import Ref
from tour.models import SaleInfo

Make = Callable[..., SaleInfo]


def order(info: SaleInfo, body: object) -> tuple[int, dict[str, Any]]:
    response = Client().post(
        f"/api/sales/{info.slug}/reserve", body if isinstance(body, str) else json.dumps(body), content_type="application/json"
    )
    return response.status_code, json.loads(response.content) if response["Content-Type"] == "application/json" else {}


def test_state_tells_what_the_page_shows(make_sale: Make, client: Client) -> None:
    info = make_sale(5)
    client.get(info.get_absolute_url())
    me = client.session["buyer"]
    order(info, {"buyer": me, "call_id": "a", "n": 2})
    order(info, {"buyer": "bob", "call_id": "a"})
    state = client.get(f"/api/sales/{info.slug}/").json()
    assert (state["tickets"], state["left"], state["taken"]) == (5, 2, [1, 2, 3])
    assert state["yours"]["seats"] == [1, 2]
    assert [(moment["you"], moment["seats"]) for moment in state["activity"]] == [(False, 1), (True, 2)]
    assert me not in json.dumps(state)


def test_the_same_order_is_answered_the_same_and_counted_once(make_sale: Make) -> None:
    info = make_sale(1)
    first = order(info, {"buyer": "ann", "call_id": "a"})
    assert first[0] == 200
    assert first[1]["seats"] == [1]
    refused = order(info, {"buyer": "bob", "call_id": "b"})
    assert refused[0] == 409
    assert refused[1]["error"] == "SoldOut"
    assert order(info, {"buyer": "ann", "call_id": "a"}) == first
    assert order(info, {"buyer": "bob", "call_id": "b"}) == refused
    assert info.ref.get("left") == 0


@pytest.mark.parametrize(
    "body",
    ["", "[]", "null", "{", '"text"', {}, {"buyer": "a"}, {"buyer": "", "call_id": "x"}, {"buyer": "a", "call_id": "x" * 65},
     {"buyer": "a\n", "call_id": "x"}, {"buyer": 1, "call_id": "x"}, {"buyer": "a", "call_id": "x", "n": "2"},
     {"buyer": "a", "call_id": "x", "n": True}],
)  # fmt: skip
def test_a_body_that_is_no_order_is_refused(make_sale: Make, body: object) -> None:
    info = make_sale(5)
    assert order(info, body)[0] == 400
    assert info.ref.get("left") == 5


def test_an_outcome_that_is_not_known_is_a_503_that_may_be_sent_again(make_sale: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    info = make_sale(5)

    def cut_off(ref: Ref[Any], method: Any, *args: Any, **kwargs: Any) -> None:
        raise OutcomeUnknown("the sale", "cut")

    with monkeypatch.context() as patch:
        patch.setattr(Ref, "call", cut_off)
        status, answer = order(info, {"buyer": "ann", "call_id": "a"})
    assert (status, answer["retryable"]) == (503, True)


def test_without_tour_api_nobody_orders_in_another_name(make_sale: Make, settings: Any) -> None:
    settings.TOUR_API = False
    info = make_sale(5)
    assert order(info, {"buyer": "ann", "call_id": "a"})[0] == 404


def test_many_threads_sell_each_seat_once(make_sale: Make) -> None:
    info = make_sale(20)

    def buy(number: int) -> tuple[int, dict[str, Any]]:
        try:
            return order(info, {"buyer": f"b{number}", "call_id": "a"})
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(buy, range(60)))
    seats = [seat for status, answer in answers if status == 200 for seat in answer["seats"]]
    assert sorted(seats) == list(range(1, 21))
    assert sum(status == 409 for status, _ in answers) == 40
