"""A reader's project in a temporary directory: files are written and commands are run as a page says.

In a ``console`` block a line that begins with ``$`` is a command, what follows is what it prints (``…`` stands for anything), and
``>>>`` lines after ``manage.py shell`` are typed into that shell.
"""

from __future__ import annotations

import http.cookiejar
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests import plugin
from tests.docs.markdown import ROOT, Block
from tests.docs.snippets import fits

PORT = "8000"
"""The port in the pages."""
_SHELL = """
import doctest, pathlib, sys
text = pathlib.Path("session.txt").read_text()
test = doctest.DocTestParser().get_doctest(text, {}, "session", "session.txt", 0)
sys.exit(doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.FAIL_FAST).run(test).failed)
"""
_META = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_OWN = re.compile(r"(?:jido_objects|\.|(?:\.\./)+jido_objects)(?:\[([\w,]+)\])?")


def commands(block: Block) -> Iterator[tuple[str, list[str]]]:
    """The commands of a console block, each with the lines it prints (or that are typed into it)."""
    found: list[tuple[str, list[str]]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:].partition("  #")[0].strip(), []))
        elif found:
            found[-1][1].append(line)
        else:
            raise AssertionError(f"line {block.line}: a console block begins with a command: $ …")
    yield from found


class Browser:
    """A visitor with cookies of its own."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar), urllib.request.ProxyHandler({}))
        self._jar = jar

    def get(self, path: str) -> str:
        return self._open(path, None)

    def submit(self, path: str, **fields: str) -> str:
        """Send the form on a page, with its hidden fields unless ``fields`` has others."""
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', self.get(path)))
        return self._open(path, urllib.parse.urlencode(hidden | fields).encode())

    def _open(self, path: str, data: bytes | None) -> str:
        try:
            with self._opener.open(self.root + path, data, timeout=10) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            return str(error.read().decode())


class Project:
    """A directory, what runs in it, and how to end that."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = 0
        self._server: subprocess.Popen[bytes] | None = None
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "JIDO_", "TEST_", "PYTEST_"))}
        inherited.pop("DATABASE_URL", None)
        paths = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
        self.environment = inherited | {"PATH": paths, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", "NO_COLOR": "1"}
        if not plugin.is_installed():
            self.environment["PYTEST_PLUGINS"] = plugin.NAME

    # ---------------------------------------------------------------- files

    def write(self, block: Block) -> None:
        assert block.file is not None
        path = self.directory / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        if block.appended:
            assert path.exists(), f"{block.file} is not there yet"
            path.write_text(f"{path.read_text()}\n{block.text}\n")
        else:
            path.write_text(f"{block.text}\n")

    # ---------------------------------------------------------------- commands

    def console(self, block: Block) -> None:
        for command, after in commands(block):
            self.command(command, after)

    def command(self, command: str, after: list[str]) -> None:
        words = shlex.split(command, comments=True)
        match words:
            case ["pip" | "python", *_] if "pip" in words and "install" in words:
                _check_install(words[words.index("install") + 1 :])
            case ["make", target, *_]:
                assert f"\n{target}:" in (ROOT / "Makefile").read_text(), f"there is no `make {target}`"
            case ["python", "manage.py", "runserver"]:
                self.serve()
            case ["pkill", "-9", "-f", "runserver"]:
                self.kill()
            case ["mkdir", name, "&&", "cd", inside] if name == inside:
                self.directory = self.directory / name
                self.directory.mkdir()
            case ["python", "-m", "venv", *_] | [".", ".venv/bin/activate"]:
                pass  # the interpreter of the tests is the reader's
            case ["python", "manage.py", "shell"]:
                (self.directory / "session.txt").write_text("\n".join(after).replace("…", "...") + "\n")
                self.run(["python", "manage.py", "shell", *_quiet(), "-c", _SHELL])
            case ["python", "example_project/manage.py", *_]:
                self._options(words, ROOT)
            case ["python", "manage.py", "jido_bench", *_]:
                self._options(words, self.directory)  # it takes a minute, and has tests of its own
            case ["python" | "django-admin", *_]:
                printed = self.run(words)
                if after:
                    assert fits(printed.strip(), "\n".join(after).strip()), f"$ {command}\n{printed}"
            case _:
                raise AssertionError(f"nothing is known of the command {command!r}: teach tests/docs/project.py to run or check it")

    def _options(self, words: list[str], directory: Path) -> None:
        printed = self.run([*words[:3], "--help"], directory)
        missing = [word for word in words[3:] if word.startswith("--") and word not in printed]
        assert not missing, f"{words[2]} has no {missing}"

    def run(self, words: list[str], directory: Path | None = None) -> str:
        if words[0] == "python":
            words = [sys.executable, *words[1:]]
        done = subprocess.run(
            words,
            cwd=directory or self.directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"$ {shlex.join(words)}\n{done.stdout}"
        return done.stdout

    # ---------------------------------------------------------------- the server

    def serve(self) -> None:
        assert self._server is None, "the server is running already"
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = int(probe.getsockname()[1])
        log = self.directory / "server.log"
        with log.open("ab") as output:
            self._server = subprocess.Popen(
                [sys.executable, "manage.py", "runserver", str(self.port)],
                cwd=self.directory,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        limit = time.monotonic() + 20
        while True:
            try:
                Browser(self.port).get("/")
            except OSError:
                assert self._server.poll() is None, log.read_text()
                assert time.monotonic() < limit, log.read_text()
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """``kill -9`` for the server: it and its reloader are a session of their own."""
        assert self._server is not None, "no server is running"
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.wait(10)
        self._server = None

    def close(self) -> None:
        if self._server is not None:
            self.kill()

    def names(self) -> dict[str, Any]:
        """What the hidden Python of a page can use."""
        return {"Browser": lambda: Browser(self.port), "project": self}


def _quiet() -> list[str]:
    # Newer versions of Django import the models into the shell, and say so.
    return ["-v", "0"]


def _check_install(words: list[str]) -> None:
    for word in words:
        if own := _OWN.fullmatch(word):
            unknown = set(filter(None, (own[1] or "").split(","))) - set(_META["optional-dependencies"])
            assert not unknown, f"pyproject.toml has no extras {unknown}"
        else:
            assert word in ("-e", "django", "pytest", "pytest-django", "psycopg[binary]"), f"`pip install {word}` is not checked"
