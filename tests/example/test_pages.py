"""What a buyer sees and presses, by Django's test client on real objects."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from jido_objects.errors import StoreUnavailable
from jido_objects.refs import Ref
from tour import objects
from tour.models import SaleInfo

Make = Callable[..., SaleInfo]


def form_of(client: Client, info: SaleInfo) -> dict[str, str]:
    """The buy form as the page holds it."""
    page = client.get(info.get_absolute_url()).content.decode()
    found = re.search(r'name="call_id" value="([^"]+)"', page)
    assert found, page
    return {"call_id": found[1], "n": "1"}


def press(client: Client, info: SaleInfo, form: dict[str, str]) -> str:
    response = client.post(f"/{info.slug}/reserve", form, follow=True)
    assert response.redirect_chain == [(info.get_absolute_url(), 302)]
    return str(response.content.decode())


def left(info: SaleInfo) -> int:
    return int(info.ref.get("left"))


def test_page_shows_the_stock_and_the_poster(make_sale: Make, client: Client) -> None:
    info = make_sale(100, city="Bern")
    page = client.get(info.get_absolute_url()).content.decode()
    assert "<h1>Bern</h1>" in page
    assert "<b data-left>100</b>" in page
    assert page.count("data-seat=") == 100
    assert "Hold my seats" in page


def test_front_page_lists_the_dates_that_are_listed(make_sale: Make, client: Client) -> None:
    make_sale(7, city="Listed-Town", listed=True)
    make_sale(7, city="Hidden-Town")
    page = client.get("/").content.decode()
    assert "Listed-Town" in page
    assert "<b>7</b> left" in page
    assert "Hidden-Town" not in page


def test_seats_are_held_and_shown_to_their_buyer_only(make_sale: Make, buyer: Callable[[], Client]) -> None:
    info, ann, bob = make_sale(10), buyer(), buyer()
    page = press(ann, info, form_of(ann, info) | {"n": "2"})
    assert "Yours: seats 1 and 2." in page
    assert "Yours until" in page
    assert page.count('class="yours"') == 2 + 1  # two seats and the key to the drawing
    other = bob.get(info.get_absolute_url()).content.decode()
    assert "Yours until" not in other
    assert other.count('class="taken"') == 2 + 1
    assert left(info) == 8


def test_the_same_form_sent_twice_counts_once(make_sale: Make, client: Client) -> None:
    info = make_sale(10)
    form = form_of(client, info)
    assert "Yours: seat 1." in press(client, info, form)
    assert "Yours: seat 1." in press(client, info, form)
    assert left(info) == 9


def test_a_form_that_was_used_for_something_else_is_refused_kindly(make_sale: Make, client: Client) -> None:
    info = make_sale(10)
    form = form_of(client, info)
    press(client, info, form)
    assert "already used" in press(client, info, form | {"n": "3"})
    assert left(info) == 9


def test_one_buyers_call_id_means_nothing_to_another(make_sale: Make, buyer: Callable[[], Client]) -> None:
    info, ann, bob = make_sale(10), buyer(), buyer()
    form = form_of(ann, info)
    assert "Yours: seat 1." in press(ann, info, form)
    assert "Yours: seat 2." in press(bob, info, form)


def test_sold_out_and_the_limit_per_person_are_said(make_sale: Make, buyer: Callable[[], Client]) -> None:
    info, ann, bob = make_sale(5), buyer(), buyer()
    early = form_of(bob, info)
    page = press(ann, info, form_of(ann, info) | {"n": "4"})
    assert "That is all one person can hold" in page
    assert "4 tickets per person, and you hold 4." in press(ann, info, early | {"n": "1"})
    assert "Only 1 left." in press(bob, info, early | {"n": "2"})
    page = press(bob, info, form_of(bob, info))
    assert "Sold out" in page
    assert left(info) == 0


def test_seats_given_back_are_sold_again(make_sale: Make, buyer: Callable[[], Client]) -> None:
    info, ann, bob = make_sale(3), buyer(), buyer()
    press(ann, info, form_of(ann, info) | {"n": "2"})
    response = ann.post(f"/{info.slug}/release", follow=True)
    assert "Your seats are back on sale." in response.content.decode()
    assert left(info) == 3
    assert "Yours: seats 1, 2 and 3." in press(bob, info, form_of(bob, info) | {"n": "3"})
    assert "You held no seats any more." in ann.post(f"/{info.slug}/release", follow=True).content.decode()
    assert left(info) == 0


def test_a_hold_that_ended_goes_to_the_next_buyer(make_sale: Make, buyer: Callable[[], Client], monkeypatch: pytest.MonkeyPatch) -> None:
    info, ann, bob = make_sale(1), buyer(), buyer()
    monkeypatch.setattr(objects, "HOLD", timedelta(0))
    press(ann, info, form_of(ann, info))
    monkeypatch.undo()
    assert left(info) == 1
    page = press(bob, info, form_of(bob, info))
    assert "Yours: seat 1." in page
    assert "ran out of time for 1 seat" in page


def test_another_site_cannot_press_the_button(make_sale: Make) -> None:
    info, client = make_sale(10), Client(enforce_csrf_checks=True)
    form = form_of(client, info)
    assert client.post(f"/{info.slug}/reserve", form).status_code == 403
    assert left(info) == 10


@pytest.mark.parametrize(
    "spoilt", [{"call_id": ""}, {"call_id": "x" * 41}, {"call_id": "é"}, {"n": ""}, {"n": "-1"}, {"n": "²"}, {"n": "999"}]
)
def test_a_spoilt_form_holds_nothing(make_sale: Make, client: Client, spoilt: dict[str, str]) -> None:
    info = make_sale(10)
    press(client, info, form_of(client, info) | spoilt)
    assert left(info) == 10


def test_zero_and_too_many_seats_are_refused(make_sale: Make, client: Client) -> None:
    info = make_sale(10)
    for n in ("0", "5", "99"):
        assert "4 tickets per person" in press(client, info, form_of(client, info) | {"n": n})
    assert left(info) == 10


def test_an_order_whose_outcome_is_unknown_can_be_sent_again_as_it_was(
    make_sale: Make, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = make_sale(10)
    form = form_of(client, info)

    def cut_off(ref: Ref[Any], method: Any, *args: Any, **kwargs: Any) -> None:
        raise StoreUnavailable("the line was cut")

    with monkeypatch.context() as patch:
        patch.setattr(Ref, "call", cut_off)
        response = client.post(f"/{info.slug}/reserve", form)
        assert response.status_code == 503
    page = response.content.decode()
    assert "We lost the line" in page
    assert f'value="{form["call_id"]}"' in page
    assert "Yours: seat 1." in press(client, info, form)
    assert left(info) == 9


def test_a_box_office_that_does_not_answer_says_so(make_sale: Make, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    info = make_sale(10, city="Quiet-Town", listed=True)

    def silent(ref: Ref[Any], name: str, *args: Any, **kwargs: Any) -> None:
        raise StoreUnavailable("nobody there")

    monkeypatch.setattr(Ref, "get", silent)
    response = client.get(info.get_absolute_url())
    assert response.status_code == 503
    assert "Nothing is lost" in response.content.decode()
    front = client.get("/")
    assert front.status_code == 200
    assert "Quiet-Town" in front.content.decode()


def test_a_sale_whose_opening_was_cut_off_is_opened_by_its_first_visitor(make_sale: Make, client: Client) -> None:
    info = make_sale(10, opened=False)
    assert not info.ref.exists()
    assert "<b data-left>10</b>" in client.get(info.get_absolute_url()).content.decode()
    assert left(info) == 10


def test_an_unknown_sale_is_not_found_and_creates_nothing(client: Client) -> None:
    assert client.get("/nowhere/").status_code == 404
    assert not objects.Sale.at("nowhere").exists()


def test_a_sale_is_made_in_the_admin(buyer: Callable[[], Client]) -> None:
    admin = buyer()
    admin.force_login(get_user_model().objects.create_superuser(username="boss", password="not used here"))
    data = {
        "slug": "from-the-admin", "city": "Olten", "venue": "Schützi", "date_0": "2027-09-01", "date_1": "20:00", "price": "25.00",
        "tickets": "12", "palette": "tide", "listed": "on",
    }  # fmt: skip
    response = admin.post("/admin/tour/saleinfo/add/", data)
    assert response.status_code == 302, response.content.decode()
    info = SaleInfo.objects.get(slug="from-the-admin")
    assert left(info) == 12
    change = f"/admin/tour/saleinfo/{info.pk}/change/"
    admin.post(change, data | {"venue": "Stadttheater", "tickets": "99", "slug": "moved"})
    info.refresh_from_db()
    assert (info.venue, info.tickets, info.slug) == ("Stadttheater", 12, "from-the-admin")
    assert ">12<" in admin.get("/admin/tour/saleinfo/").content.decode()
