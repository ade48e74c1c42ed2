"""`manage.py storm`: a flash sale under load, with a proof at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import signal
import statistics
import sys
from datetime import timedelta
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from tour.models import SaleInfo
from tour.storm.client import loopback
from tour.storm.load import Load, Outcome, StormError
from tour.storm.proof import Check, prove
from tour.storm.server import Server


def percentile(values: list[float], share: float) -> float:
    return statistics.quantiles(values, n=1000, method="inclusive")[round(share * 1000) - 1] if len(values) > 1 else sum(values)


class Command(BaseCommand):
    help = (
        "Sends thousands of buyers over HTTP at one sale, re-sends whatever they do not know under the same call id, and proves "
        "that exactly the tickets there are were sold. Goes to a running server (--url), or kills its own with -9 meanwhile (--kill)."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--url", default="http://127.0.0.1:8000", help="a running server on this machine and this database (%(default)s)"
        )
        parser.add_argument("--buyers", type=int, default=2000, help="how many want one ticket (%(default)s)")
        parser.add_argument("--tickets", type=int, default=100, help="how many there are (%(default)s)")
        parser.add_argument("--concurrency", type=int, default=64, help="buyers at a time (%(default)s)")
        parser.add_argument("--timeout", type=float, default=10.0, help="seconds until a request counts as lost (%(default)s)")
        parser.add_argument("--patience", type=float, default=60.0, help="seconds until a buyer gives up asking (%(default)s)")
        parser.add_argument("--kill", action="store_true", help="start a server, and kill it with -9 while it sells")
        parser.add_argument("--kills", type=int, help="how often (3); implies --kill")
        parser.add_argument("--seed", type=int, help="of the moments of the kills")
        parser.add_argument("--json", action="store_true", help="print the figures as JSON and nothing else")

    def handle(self, **options: Any) -> None:
        for name in ("buyers", "tickets", "concurrency"):
            if not 1 <= options[name] <= 50_000:
                raise CommandError(f"--{name} is a number from 1 to 50,000.")
        if options["kills"] is None:
            options["kills"] = 3 if options["kill"] else 0
        elif options["kills"] < 1:
            raise CommandError("--kills is a number from 1.")
        try:
            host, port = ("", 0) if options["kills"] else loopback(options["url"])
        except (ValueError, OSError) as error:
            raise CommandError(str(error)) from error

        if options["kills"]:
            call_command("migrate", verbosity=0, interactive=False)
        # Only the poster is written here: the object itself is opened, and owned, by the server.
        info = SaleInfo(
            slug=f"storm-{secrets.token_hex(3)}",
            city="Storm",
            venue=f"{options['buyers']:,} buyers",
            date=timezone.now() + timedelta(days=30),
            price=1,
            tickets=options["tickets"],
            palette=SaleInfo.Palette.DUSK,
            listed=False,
        )
        SaleInfo.objects.bulk_create([info])
        server = Server() if options["kills"] else None
        # The default action of SIGTERM would leave the server behind.
        signal.signal(signal.SIGTERM, lambda signum, frame: sys.exit(128 + signum))
        try:
            load, shown, kills = asyncio.run(self._storm(info.slug, host, port, server, options))
            checks = asyncio.run(prove(load, options["tickets"], options["buyers"], shown, info.ref.peek()))
        except StormError as error:
            raise CommandError(str(error)) from error
        finally:
            if server:
                server.stop()
        self._report(info, load.outcome, checks, kills, options)
        if not all(check.holds for check in checks):
            if load.outcome.unknown:
                self.stderr.write(f"The last trouble: {load.outcome.last_trouble}")
            raise CommandError("The storm broke a promise: see the checks above.", returncode=1)

    async def _storm(
        self, slug: str, host: str, port: int, server: Server | None, options: dict[str, Any]
    ) -> tuple[Load, dict[str, Any], int]:
        if server:
            host, port = server.address
            await server.start()
        load = Load(
            host,
            port,
            slug,
            buyers=options["buyers"],
            concurrency=options["concurrency"],
            timeout=options["timeout"],
            patience=options["patience"],
        )
        await load.state()
        killer = asyncio.create_task(self._kill(load, server, options)) if server else None
        bar = Bar(options["buyers"], visible=sys.stderr.isatty() and not options["json"])
        try:
            await load.run(bar.show)
            if killer and not load.outcome.unknown:
                await killer
        finally:
            bar.close()
            if killer and killer.done():
                killer.result()
            elif killer:
                killer.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await killer
        return load, await load.state(), server.kills if server else 0

    async def _kill(self, load: Load, server: Server, options: dict[str, Any]) -> None:
        """Kill the server at moments spread over the selling, and start it again each time."""
        dice, sold = random.Random(options["seed"]), min(options["tickets"], options["buyers"])
        for moment in sorted(dice.sample(range(1, sold + 1), min(options["kills"], sold))):
            await load.sold(moment)
            server.kill()
            await server.start()

    def _report(self, info: SaleInfo, outcome: Outcome, checks: list[Check], kills: int, options: dict[str, Any]) -> None:
        milliseconds = {
            name: round(1000 * percentile(outcome.latencies, share), 1) for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
        }
        figures = {
            "sale": info.slug,
            "buyers": options["buyers"],
            "tickets": options["tickets"],
            "sold": len(outcome.held),
            "refused": len(outcome.refused),
            "unknown": len(outcome.unknown),
            "sent_again": sum(outcome.again.values()),
            "sent_again_after": dict(outcome.again),
            "kills": kills,
            "seconds": round(outcome.seconds, 3),
            "calls_per_second": round(outcome.known / outcome.seconds, 1),
            "latency_ms": milliseconds,
            "longest_wait_seconds": round(outcome.longest, 3),
            "checks": {check.claim: check.holds for check in checks},
            "ok": all(check.holds for check in checks),
        }
        if options["json"]:
            self.stdout.write(json.dumps(figures, indent=2))
            return
        at_a_time = min(options["concurrency"], options["buyers"])
        after = ", ".join(f"{count:,} after {what}" for what, count in outcome.again.most_common())
        self.stdout.write(
            f"\n{options['buyers']:,} buyers, {at_a_time} at a time, {options['tickets']:,} tickets\n\n"
            f"  sold        {len(outcome.held):>8,}\n"
            f"  refused     {len(outcome.refused):>8,}\n"
            f"  unknown     {len(outcome.unknown):>8,}\n"
            f"  sent again  {sum(outcome.again.values()):>8,}{f'   {after}' if after else ''}\n"
            + (f"  kill -9     {kills:>8,}\n" if options["kills"] else "")
            + f"  calls/s     {figures['calls_per_second']:>8,.0f}   over {outcome.seconds:.1f} s\n"
            f"  latency     p50 {milliseconds['p50']:g} ms, p95 {milliseconds['p95']:g} ms, p99 {milliseconds['p99']:g} ms; "
            f"longest wait for an answer {outcome.longest:.2f} s\n"
        )
        for check in checks:
            mark = self.style.SUCCESS("  ok  ") if check.holds else self.style.ERROR("  NO  ")
            self.stdout.write(f"{mark}{check.claim} ({check.evidence})")


class Bar:
    """One line on the terminal that says how far the storm is."""

    def __init__(self, total: int, *, visible: bool) -> None:
        self._total, self._visible, self._shown = total, visible, -1

    def show(self, outcome: Outcome) -> None:
        done = outcome.known + len(outcome.unknown)
        permille = 1000 * done // self._total
        if self._visible and permille != self._shown:
            self._shown = permille
            filled, again = 32 * done // self._total, sum(outcome.again.values())
            bar = "#" * filled + "." * (32 - filled)
            sys.stderr.write(f"\r  [{bar}] {done:,}/{self._total:,}  sold {len(outcome.held):,}  sent again {again:,} ")
            sys.stderr.flush()

    def close(self) -> None:
        if self._visible:
            sys.stderr.write("\n")
