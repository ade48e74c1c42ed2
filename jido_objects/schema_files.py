"""The files that keep what stored state looks like: ``jido_schema.json`` in each app that has object types.

They are committed with the code, so that a change of a state class shows in a review, and so that CI can tell a change that
stored objects survive from one that needs a version (``shapes``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.apps import apps

from .definition import Definition
from .errors import ConfigurationError
from .shapes import described

NAME = "jido_schema.json"
FORMAT = 1
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def homes() -> dict[str, Path]:
    """The directories of the project's own apps, by label; what is installed as a package keeps its own files."""
    return {config.label: Path(config.path) for config in apps.get_app_configs() if not _INSTALLED & set(Path(config.path).parts)}


def types_by_app(places: Mapping[str, Path]) -> dict[str, dict[str, Definition]]:
    """The object types of these apps, by app and label, in order."""
    found: dict[str, dict[str, Definition]] = {}
    for label, definition in sorted(Definition.registry.items()):
        app = Definition.app_label_of(definition.cls.__module__)
        if app is not None and app in places:
            found.setdefault(app, {})[label] = definition
    return found


def content(types: Mapping[str, Definition]) -> str:
    """The text of an app's file: the same for the same types, a field to a line."""
    blocks = []
    for label, definition in types.items():
        now = described(definition)
        fields = ",\n".join(f"        {json.dumps(name)}: {json.dumps(field, ensure_ascii=False)}" for name, field in now["fields"].items())
        inside = f"{{\n{fields}\n      }}" if fields else "{}"
        head = f'      "version": {now["version"]},\n      "aliases": {json.dumps(now["aliases"])},\n      "fields": {inside}'
        blocks.append(f"    {json.dumps(label)}: {{\n{head}\n    }}")
    return f'{{\n  "format": {FORMAT},\n  "types": {{\n{",".join(chr(10) + block for block in blocks)[1:]}\n  }}\n}}\n'


def read(path: Path) -> dict[str, dict[str, Any]] | None:
    """The types that a file keeps, or ``None`` if there is no file; raises ``ConfigurationError`` where it cannot be read."""
    try:
        kept = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}). {_RESTORE}") from error
    if not isinstance(kept, dict) or not _is_well_formed(kept.get("types")):
        raise ConfigurationError(f"{path} is not what jido_schema writes. {_RESTORE}")
    if kept.get("format") != FORMAT:
        raise ConfigurationError(f"{path} has the format {kept.get('format')!r}, this version of jido_objects knows {FORMAT}. {_RESTORE}")
    return dict(kept["types"])


_RESTORE = "Restore it from version control; or delete it and run `manage.py jido_schema`, which takes the code as it is now."


def _is_well_formed(types: object) -> bool:
    return isinstance(types, dict) and all(
        isinstance(kept, dict)
        and type(kept.get("version")) is int
        and isinstance(kept.get("aliases"), list)
        and isinstance(kept.get("fields"), dict)
        and all(isinstance(field, dict) and {"type", "default"} <= field.keys() for field in kept["fields"].values())
        for kept in types.values()
    )
