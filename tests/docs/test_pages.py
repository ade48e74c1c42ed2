"""Every Python block and every command of the pages does what the page says."""

from __future__ import annotations

from typing import Any

import pytest
from django.conf import settings

from tests.docs.markdown import Page, pages
from tests.docs.project import Project
from tests.docs.snippets import Session

PAGES = [page for page in pages() if page.name != "docs/tutorial.md"]
LANGUAGES = {"python", "console", "html", "ini", "sql", "mermaid", ""}
"""``""`` is for drawings: nothing that could be run."""


def _runs() -> list[Any]:
    found = []
    for page in PAGES:
        if any(block.language == "python" for block in page.blocks):
            for alias, vendor in (("default", "sqlite"), ("postgres", "postgresql")):
                if page.database in (None, vendor) and alias in settings.DATABASES:
                    found.append(pytest.param(page, alias, id=f"{page.name}-{vendor}"))
    return found


@pytest.mark.django_db(transaction=True, databases="__all__")
@pytest.mark.parametrize(("page", "database"), _runs(), indirect=["database"])
def test_python(page: Page, database: str) -> None:
    session = Session(page)
    try:
        for block in page.blocks:
            if block.language == "python":
                session.run(block)
    finally:
        session.close()


COMMANDED = [page for page in PAGES if any(block.language == "console" for block in page.blocks)]


@pytest.mark.parametrize("page", COMMANDED, ids=lambda page: page.name)
def test_commands(page: Page, project: Project) -> None:
    for block in page.blocks:
        if block.language == "console":
            project.console(block)


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_no_block_is_of_a_language_that_nothing_checks(page: Page) -> None:
    unknown = {block.language for block in page.blocks} - LANGUAGES
    assert not unknown
