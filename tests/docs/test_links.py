"""Links lead somewhere, and every page can be reached."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.markdown import ROOT, Page, pages, read

PAGES = {page.path: page for page in pages()}
_FILE = re.compile(r"(?:docs|jido_objects|tests|benchmarks|example_project)/[\w./-]*|pyproject\.toml|Makefile")


def _target(page: Page, link: str) -> tuple[Path, str]:
    path, _, anchor = link.partition("#")
    return ((page.path.parent / path).resolve() if path else page.path), anchor


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.name)
def test_links_and_anchors(page: Page) -> None:
    broken = []
    for line, link in page.links:
        if re.match(r"[a-z]+:", link):
            continue
        path, anchor = _target(page, link)
        if not path.exists():
            broken.append(f"{page.name}:{line}: {link} is not there")
        elif anchor and anchor not in (PAGES[path] if path in PAGES else read(path)).anchors:
            broken.append(f"{page.name}:{line}: {link} has no such heading")
    assert not broken, "\n".join(broken)


@pytest.mark.parametrize("page", PAGES.values(), ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Page) -> None:
    missing = [
        f"{page.name}:{line}: {span}" for line, span in page.code_spans if _FILE.fullmatch(span) and not (ROOT / span).exists()
    ]
    assert not missing, "\n".join(missing)


def test_every_page_can_be_reached_from_the_index() -> None:
    seen: set[Path] = set()
    ahead = [ROOT / "README.md"]
    while ahead:
        path = ahead.pop()
        if path in PAGES and path not in seen:
            seen.add(path)
            ahead.extend(_target(PAGES[path], link)[0] for _, link in PAGES[path].links)
    assert seen == set(PAGES)


def test_every_page_begins_with_one_title() -> None:
    for page in PAGES.values():
        assert [level for level, _ in page.headings].count(1) == 1, page.name
        assert page.headings[0][0] == 1, page.name
