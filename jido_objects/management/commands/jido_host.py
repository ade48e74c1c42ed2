"""``manage.py jido_host``: a process that does nothing but host objects, fire alarms and deliver messages."""

from __future__ import annotations

import signal
import threading
from argparse import ArgumentParser
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jido_objects import process
from jido_objects.errors import JidoError
from jido_objects.host import Host

START_SECONDS = 60.0


class Command(BaseCommand):
    """Needs no arguments. Ends with status 0 on SIGTERM and SIGINT, after it has finished what runs."""

    help = "Host objects: fire alarms and deliver messages, until SIGTERM or SIGINT."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """None."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Host until a signal comes."""
        ended = threading.Event()

        def end(number: int, frame: FrameType | None) -> None:
            ended.set()

        before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            here = process.current()
            if here.settings.HOST == "never":
                raise CommandError("JIDO_OBJECTS['HOST'] is 'never': this process may not host. Set it to 'auto' or 'always' here.")
            try:
                here.ask_blocking(_begin, START_SECONDS)
            except JidoError as error:
                raise CommandError(f"This process cannot host: {error}") from error
            self.stdout.write("Hosting objects. SIGTERM or CTRL-C ends it.")
            self.stdout.flush()
            ended.wait()
            self.stdout.write("Stopping: what runs is finished first.")
            process.stop()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


async def _begin(host: Host) -> None:
    await host.ask(host.term)
