"""What checks the pages can fail: a page that lies is caught."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs import markdown, snippets
from tests.docs.markdown import Block, Page
from tests.docs.project import Project
from tests.docs.snippets import Session

WriteWith = Callable[[str], Page]


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteWith:
    monkeypatch.setattr(markdown, "ROOT", tmp_path)

    def write(text: str) -> Page:
        path = tmp_path / "page.md"
        path.write_text(text)
        return markdown.read(path)

    return write


def run(page: Page) -> None:
    session = Session(page)
    try:
        for block in page.blocks:
            session.run(block)
    finally:
        session.close()


@pytest.mark.parametrize(
    "truth",
    [
        "1 + 1  # → 2",
        "'a' * 3  # → 'a…'",
        "1 / 0  # raises ZeroDivisionError: division by zero",
        "1 / 0  # raises ZeroDivisionError",
        "import asyncio\nawait asyncio.sleep(0, 5)  # → 5",
        "# shop/objects.py\nX = 5\n```\n```python\nfrom shop.objects import X\nX  # → 5",
        '# mysite/settings.py\nJIDO_OBJECTS = {"HOST": "never"}',
    ],
)
def test_what_is_true_passes(truth: str, page: WriteWith) -> None:
    run(page(f"```python\n{truth}\n```\n"))


@pytest.mark.parametrize(
    ("lie", "caught"),
    [
        ("1 + 1  # → 3", "page.md:2: `1 \\+ 1` is 2, the page says 3"),
        ("x = 1\nx  # raises KeyError", "raises nothing"),
        ("1 / 0  # raises ZeroDivisionError: never", "the page says never"),
        ("import asyncio\nawait asyncio.sleep(0, 5)  # → 6", "is 5, the page says 6"),
        ('# mysite/settings.py\nJIDO_OBJECTS = {"HOSTS": "never"}', "HOSTS"),
        ('# mysite/settings.py\nJIDO_OBJECTS = {"DATABASE": "nowhere"}', "no such alias"),
    ],
)
def test_a_lie_is_caught(lie: str, caught: str, page: WriteWith) -> None:
    with pytest.raises(AssertionError, match=caught):
        run(page(f"```python\n{lie}\n```\n"))


def test_another_exception_than_the_announced_one_passes_through(page: WriteWith) -> None:
    with pytest.raises(ZeroDivisionError):
        run(page("```python\n1 / 0  # raises KeyError\n```\n"))


def test_a_page_leaves_nothing_behind(page: WriteWith) -> None:
    import sys

    from jido_objects.definition import Definition

    before = dict(Definition.registry)
    run(page("```python\n# shop/objects.py\nfrom jido_objects import DurableObject\nclass Passing(DurableObject): ...\n```\n"))
    assert Definition.registry == before
    assert "shop.objects" not in sys.modules


def test_what_is_read_of_a_page(page: WriteWith) -> None:
    read = page(
        "# A `title`\n\n## Twice\n\n## Twice\n\n[one](two.md#three) and `[no](link)`\n\n| a | b |\n| --- | --- |\n| 1 | `x \\| y` |\n\n"
        "<!-- python\nhidden = 1\n-->\n\n```html\n{# shop/x.html #}\n```\n"
    )
    assert read.anchors == {"a-title", "twice", "twice-1"}
    assert read.links == [(7, "two.md#three")]
    assert read.table("a", "b") == [{"a": "1", "b": "`x | y`"}]
    assert [(block.language, block.hidden, block.file) for block in read.blocks] == [("python", True, None), ("html", False, "shop/x.html")]


def test_what_is_not_closed_is_an_error(page: WriteWith) -> None:
    with pytest.raises(AssertionError, match="not closed"):
        page("```python\n1\n")


@pytest.mark.parametrize("pattern", ["one…three", "…", "one\ntwo\nthree"])
def test_dots_stand_for_anything(pattern: str) -> None:
    assert snippets.fits("one\ntwo\nthree", pattern)
    assert not snippets.fits("one\ntwo", "one…three")


@pytest.mark.parametrize(
    "command", ["rm -rf /", "make nothing", "pip install 'jido_objects[moon]'", "pip install unknown", "python -c 'raise SystemExit(1)'"]
)
def test_commands_that_cannot_be_vouched_for(command: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        Project(tmp_path).console(Block("console", f"$ {command}", 1))


def test_output_that_differs(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.console(Block("console", "$ python -c 'print(5)'\n5", 1))
    with pytest.raises(AssertionError, match="5"):
        project.console(Block("console", "$ python -c 'print(5)'\n6", 1))
