"""The reader's project, made by the tutorial itself, and a database for the snippets of a page."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jido_objects import process
from tests.docs.markdown import ROOT, Page, read
from tests.docs.project import Project


def _follow(page: Page, project: Project) -> None:
    """Do what the page says, from top to bottom."""
    hidden: dict[str, Any] = project.names()
    for block in page.blocks:
        try:
            if block.hidden:
                exec(compile("\n" * (block.line - 1) + block.text, str(page.path), "exec", dont_inherit=True), hidden)
            elif block.language == "console":
                project.console(block)
            elif block.file is not None:
                project.write(block)
        except Exception as error:
            raise AssertionError(f"{page.name}:{block.line}: {''.join(traceback.format_exception_only(error))}") from error


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Path]]:
    """Follows the tutorial in a new directory, once; returns the directory of the finished project."""
    project = Project(tmp_path_factory.mktemp("tutorial"))
    failure: list[Exception] = []
    done: list[Path] = []

    def follow() -> Path:
        if failure:
            pytest.fail(f"the tutorial failed: {failure[0]}", pytrace=False)
        if not done:
            try:
                _follow(read(ROOT / "docs" / "tutorial.md"), project)
            except Exception as error:
                failure.append(error)
                raise
            done.append(project.directory)
        return done[0]

    yield follow
    project.close()


@pytest.fixture
def project(tutorial: Callable[[], Path], tmp_path: Path) -> Iterator[Project]:
    """A copy of the finished project."""
    directory = tmp_path / "tickets"
    shutil.copytree(tutorial(), directory)
    project = Project(directory)
    yield project
    project.close()


@pytest.fixture
def database(request: pytest.FixtureRequest, transactional_db: None, settings: Any) -> Iterator[str]:
    """The alias that holds the objects of this test."""
    process.stop()
    settings.JIDO_OBJECTS = {"DATABASE": request.param}
    yield request.param
    process.stop()
