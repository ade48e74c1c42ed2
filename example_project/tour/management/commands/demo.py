"""`manage.py demo`: the tour on one machine, with nothing else to install or start."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import signal
import socket
import sys
from datetime import datetime
from decimal import Decimal
from http import HTTPStatus
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.servers.basehttp import WSGIServer, get_internal_wsgi_application, run
from django.utils import timezone

from tour.models import SaleInfo

HOST = "127.0.0.1"

DATES = [
    ("zurich", "Zürich", "Rote Fabrik", datetime(2027, 5, 14, 20), "48", 100, SaleInfo.Palette.EMBER),
    ("lisbon", "Lisbon", "Coliseu da Graça", datetime(2027, 5, 21, 21), "42.50", 36, SaleInfo.Palette.TIDE),
    ("leipzig", "Leipzig", "Felsenkeller", datetime(2027, 6, 4, 20), "39", 240, SaleInfo.Palette.MOSS),
    ("ghent", "Ghent", "Vooruit", datetime(2027, 6, 12, 20), "44", 64, SaleInfo.Palette.DUSK),
]

BANNER = """
  Tour is on  {url}

  Buy              {url}zurich/  in two browsers, and watch the seats go
  Sell a new date  {url}admin/   user admin, password {password}
  Press twice      the same order counts once, however often it is sent
  Kill it          kill -9 {pid}, start it again: every seat that was yours still is
  Storm it         in another terminal: make storm, which kills a server of its own while 2,000 buyers
                   want 100 tickets; or  {manage} storm --url {url}

  Ctrl-C ends it. What was sold stays in {database}; make clean forgets it.
"""


class Server(WSGIServer):
    """Django's own server, for a crowd: room for all who arrive at once, and no wait between the small pieces of an answer."""

    request_queue_size = 256

    def get_request(self) -> tuple[socket.socket, Any]:
        request, address = super().get_request()
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return request, address


class Command(BaseCommand):
    help = "Prepares the database, adds a few dates on the first run, and serves the tour until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, default=8000)
        parser.add_argument("--bare", action="store_true", help="only serve: what the storm starts")

    def handle(self, *, port: int, bare: bool, **options: Any) -> None:
        # Also where the shell that started it in the background told it to ignore an interrupt: this is how it is ended.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        password = ""
        if not bare:
            call_command("migrate", verbosity=0, interactive=False)
            password = self._admin()
            self._dates()

        application = StaticFilesHandler(get_internal_wsgi_application())
        # A polling page would fill the terminal with its requests, a storm with refusals. Making the application sets logging up anew.
        for name in ("django.server", "django.request"):
            logger = logging.getLogger(name)
            logger.setLevel(logging.ERROR)
            logger.addFilter(lambda record: getattr(record, "status_code", 0) != HTTPStatus.SERVICE_UNAVAILABLE)

        def ready(bound: object) -> None:
            if not bare:
                self.stdout.write(self._banner(bound, password))

        try:
            # One process with a thread per connection: in this release one process owns an object at a time.
            run(HOST, port, application, threading=True, on_bind=ready, server_cls=Server)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            raise CommandError(f"Port {port} is taken. Choose another: make demo PORT={port + 1}") from error
        except KeyboardInterrupt:
            if not bare:
                self.stdout.write("\n  The box office is closed.")

    def _admin(self) -> str:
        """The demo's admin, with a new password at each start: it is shown here and kept nowhere."""
        password = secrets.token_urlsafe(9)
        admin, _ = get_user_model().objects.get_or_create(username="admin", defaults={"is_staff": True, "is_superuser": True})
        admin.set_password(password)
        admin.save()
        return password

    def _dates(self) -> None:
        if not SaleInfo.objects.filter(listed=True).exists():
            for slug, city, venue, doors, price, tickets, palette in DATES:
                SaleInfo.objects.create(
                    slug=slug,
                    city=city,
                    venue=venue,
                    date=timezone.make_aware(doors),
                    price=Decimal(price),
                    tickets=tickets,
                    palette=palette,
                )

    def _banner(self, port: object, password: str) -> str:
        python = os.path.relpath(sys.executable)
        return BANNER.format(
            url=f"http://{HOST}:{port}/",
            password=password,
            pid=os.getpid(),
            manage=f"{sys.executable if python.startswith('..') else python} {sys.argv[0]}",
            database=Path(settings.DATABASES["default"]["NAME"]).name,
        )


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt
