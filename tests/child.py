"""A second process on the databases of the running test: reads lines of Python, answers each with its ``repr``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


def main() -> None:
    import django
    from django.conf import settings

    names = json.loads(os.environ["JIDO_CHILD"])
    for alias, name in names["databases"].items():
        settings.DATABASES[alias]["NAME"] = name
    settings.JIDO_OBJECTS = names["settings"]
    django.setup()
    from jido_objects import errors, process
    from tests.app import objects

    scope: dict[str, Any] = {**vars(objects), "process": process, "os": os, "errors": errors}
    print("ready", flush=True)
    for line in sys.stdin:
        try:
            answer = repr(eval(line, scope))
        except Exception as error:
            answer = f"{type(error).__name__}: {error}"
        print(json.dumps(answer), flush=True)


class Child:
    """The other end."""

    def __init__(self, child: subprocess.Popen[str]) -> None:
        self.process = child
        self.pid = child.pid

    def send(self, expression: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def receive(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return str(json.loads(line)) if line else "gone"

    def ask(self, expression: str) -> str:
        self.send(expression)
        return self.receive()

    def end(self) -> int:
        """End it as a script ends: at the end of its input."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(20)


@contextmanager
def child(settings: dict[str, Any]) -> Iterator[Child]:
    from django.db import connections

    databases = {alias: str(connections[alias].settings_dict["NAME"]) for alias in connections}
    env = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "JIDO_CHILD": json.dumps({"databases": databases, "settings": settings}),
    }
    running = subprocess.Popen([sys.executable, "-m", "tests.child"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        yield Child(running)
    finally:
        if running.poll() is None:
            running.kill()
        running.wait()
        running.stdin.close()  # type: ignore[union-attr]
        running.stdout.close()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()
