"""What a sale promises, as its developer tests it: `python manage.py test`. No set-up, no other server, nothing to clean up.

Objects live inside each test's transaction (docs: how-to/testing). What needs a running server, threads or a browser is
tested in the repository's `tests/example`.
"""

from __future__ import annotations

import json
from datetime import timedelta

from django.test import Client, TestCase
from django.utils import timezone

from jido_objects.testing import jido_clock, jido_host

from .models import SaleInfo
from .objects import HOLD, NotOpen, Sale, SoldOut, TooMany


class SaleTests(TestCase):
    """The object alone."""

    def setUp(self) -> None:
        self.sale = Sale.at("zurich")
        self.sale.call(Sale.open, 3)

    def test_seats_are_numbered_and_run_out(self) -> None:
        self.assertEqual(self.sale.call(Sale.reserve, "ann", 2).seats, (1, 2))
        self.assertEqual(self.sale.call(Sale.reserve, "bob").seats, (3,))
        with self.assertRaisesMessage(SoldOut, "Only 0 left."):
            self.sale.call(Sale.reserve, "cy")

    def test_a_buyer_holds_four_at_most(self) -> None:
        with self.assertRaises(TooMany):
            self.sale.call(Sale.reserve, "ann", 5)
        self.assertEqual(self.sale.get("left"), 3)

    def test_a_sale_that_has_not_opened_sells_nothing(self) -> None:
        with self.assertRaises(NotOpen):
            Sale.at("nowhere").call(Sale.reserve, "ann")
        self.assertFalse(Sale.at("nowhere").exists())

    def test_a_hold_ends_and_its_seats_are_sold_again(self) -> None:
        self.sale.call(Sale.reserve, "ann", 3)
        jido_clock.advance(HOLD - timedelta(minutes=1))
        self.assertEqual(self.sale.get("left"), 0)
        jido_clock.advance(timedelta(minutes=1))
        self.assertEqual(self.sale.get("left"), 3)
        self.assertEqual(self.sale.call(Sale.reserve, "bob").seats, (1,))

    def test_a_crash_loses_no_seat(self) -> None:
        self.sale.call(Sale.reserve, "ann", 2)
        jido_host.crash()
        self.assertEqual(self.sale.call(Sale.reserve, "bob").seats, (3,))


class SiteTests(TestCase):
    """The object behind its pages."""

    def setUp(self) -> None:
        # A sale opens when its row is committed. No test commits, so this stands for the commit.
        with self.captureOnCommitCallbacks(execute=True):
            self.info = SaleInfo.objects.create(
                slug="basel", city="Basel", venue="Kaserne", date=timezone.now() + timedelta(days=9), price=40, tickets=5
            )

    def order(self, buyer: str, call_id: str) -> int:
        body = json.dumps({"buyer": buyer, "call_id": call_id})
        return Client().post("/api/sales/basel/reserve", body, content_type="application/json").status_code

    def test_saving_the_poster_opens_the_sale(self) -> None:
        self.assertEqual(self.info.ref.get("left"), 5)
        self.assertContains(self.client.get("/basel/"), "<b data-left>5</b>")

    def test_the_same_order_counts_once(self) -> None:
        self.assertEqual([self.order("ann", "one"), self.order("ann", "one")], [200, 200])
        self.assertEqual(self.info.ref.get("left"), 4)

    def test_each_test_has_the_sale_as_it_was_opened(self) -> None:
        self.assertEqual(self.info.ref.get("left"), 5)
