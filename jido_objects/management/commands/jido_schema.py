"""``manage.py jido_schema``: keep what stored state looks like, and say which change of a state class needs a version.

Exit codes: 0 written, or nothing has changed; 1 a change needs a version, or a file is missing or out of date.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from ...errors import ConfigurationError
from ...schema_files import NAME, content, homes, read, types_by_app
from ...shapes import Change, changes

_HOW = "See the guide docs/how-to/change-state.md. If no object of that shape was ever stored, run `manage.py jido_schema --accept`."


class Command(BaseCommand):
    help = f"Writes the shape of every object type's state to {NAME} in its app, or says what has changed since (--check)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where something has changed, and say what")
        parser.add_argument("--accept", action="store_true", help="write, though a change needs a version and has none")
        parser.add_argument("--stored", action="store_true", help="only count the stored objects of each version; a scan of the tables")

    def handle(self, *, check: bool, accept: bool, stored: bool, **options: Any) -> None:
        if stored:
            self._stored()
            return
        if check and accept:
            raise CommandError("--check writes nothing, so there is nothing to --accept: give one of them.")
        places = homes()
        types = types_by_app(places)
        try:
            files = {app: read(place / NAME) for app, place in places.items()}
        except ConfigurationError as error:
            raise CommandError(str(error)) from error
        kept = {label: one for file in files.values() for label, one in (file or {}).items()}
        found = list(changes(kept, {label: definition for of_app in types.values() for label, definition in of_app.items()}))
        missing = [app for app in types if files[app] is None]
        breaks = [change for change in found if change.breaks]
        if breaks and not accept:
            self._refuse(breaks, found)
        texts = {places[app] / NAME: content(of_app) for app, of_app in types.items()}
        stale = [path for path, text in texts.items() if not path.exists() or path.read_text("utf-8") != text]
        empty = [places[app] / NAME for app, file in files.items() if file is not None and app not in types]
        if check:
            self._check(found, missing, [*stale, *empty])
        else:
            self._write(found, {path: texts[path] for path in stale}, empty)

    def _refuse(self, breaks: list[Change], found: list[Change]) -> None:
        for change in found:
            if not change.breaks:
                self.stdout.write(f"  {change}")
        lines = "\n".join(f"  {change}" for change in breaks)
        raise CommandError(f"{len(breaks)} change{'s' if len(breaks) > 1 else ''} that stored objects do not survive:\n{lines}\n{_HOW}")

    def _check(self, found: list[Change], missing: list[str], stale: list[Path]) -> None:
        for change in found:
            self.stdout.write(f"  {change}")
        if missing:
            raise CommandError(f"No {NAME} in {', '.join(missing)}: run `manage.py jido_schema` and commit what it writes.")
        if stale:
            raise CommandError(f"Out of date: {', '.join(map(str, stale))}. Run `manage.py jido_schema` and commit what it writes.")
        self.stdout.write("Nothing has changed.")

    def _write(self, found: list[Change], texts: dict[Path, str], empty: list[Path]) -> None:
        for change in found:
            self.stdout.write(f"  {change}")
        try:
            for path, text in texts.items():
                path.write_text(text, "utf-8")
                self.stdout.write(f"Wrote {path}")
            for path in empty:
                path.unlink()
                self.stdout.write(f"Removed {path}: its app has no object types any more")
        except OSError as error:
            raise CommandError(f"{error.filename} cannot be written: {error.strerror}") from error
        if not texts and not empty:
            self.stdout.write("Nothing has changed.")

    def _stored(self) -> None:
        from django.db.models import Count, OuterRef, Subquery
        from django.db.models.functions import Coalesce

        from ...conf import read as settings
        from ...definition import Definition
        from ...models import Journal, Object, Snapshot

        alias = settings().DATABASE
        rows = Object.objects.using(alias)
        # What a thaw reads: the newest snapshot and what follows, or the whole journal.
        newest = Snapshot.objects.filter(object=OuterRef("pk")).order_by("-seq").values("version")[:1]
        first = Journal.objects.filter(object=OuterRef("pk")).order_by("seq").values("version")[:1]
        rested = rows.annotate(rests_in=Coalesce(Subquery(newest), Subquery(first)))
        counted = rested.values_list("type", "rests_in").annotate(count=Count("pk")).order_by("type", "rests_in")
        for label, version, count in counted:
            known = [one for one in Definition.registry.values() if label in one.labels]
            if not known:
                needs = "no type of this code"
            elif version == known[0].options.version:
                needs = "today's version"
            else:
                needs = f"needs @migrates(from_version={version}) and what follows"
            self.stdout.write(f"  {label} version {version}: {count} objects, {needs}")
