"""As much Markdown as the documentation uses: fenced blocks, headings, links, tables, and comments that say how to test.

What a reader does not see, a test reads from HTML comments:

``<!-- python … -->``           code that is executed at this place of the page
``<!-- database: postgresql -->``    the page's Python runs on this database only
``<!-- begin: errors -->`` … ``<!-- end: errors -->``    a part that ``reference.py`` writes
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Block:
    """A fenced block, or code in a comment (``hidden``)."""

    language: str
    text: str
    line: int
    """Line of its first line of text, from 1."""
    hidden: bool = False

    @property
    def file(self) -> str | None:
        """Path in the reader's project that the first line names: ``# shop/objects.py``."""
        found = re.match(r"(?:#|\{#) ([\w/.]+\.(?:py|ini|html))\b", self.text)
        return found[1] if found else None

    @property
    def appended(self) -> bool:
        """Whether the block goes to the end of its file: ``# mysite/settings.py, at the end``."""
        return re.match(r"# [\w/.]+, at the end$", self.text.splitlines()[0]) is not None


@dataclass
class Page:
    """One Markdown file, taken apart."""

    path: Path
    blocks: list[Block] = field(default_factory=list)
    headings: list[tuple[int, str]] = field(default_factory=list)
    links: list[tuple[int, str]] = field(default_factory=list)
    tables: list[list[list[str]]] = field(default_factory=list)
    """Each a list of rows of cells, the header first."""
    code_spans: list[tuple[int, str]] = field(default_factory=list)
    database: str | None = None

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    @property
    def anchors(self) -> set[str]:
        """The fragments that a link may name, as GitHub makes them from headings."""
        seen: dict[str, int] = {}
        anchors = set()
        for _, heading in self.headings:
            base = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")
            count = seen.get(base, 0)
            seen[base] = count + 1
            anchors.add(f"{base}-{count}" if count else base)
        return anchors

    def table(self, *header: str) -> list[dict[str, str]]:
        """The rows of the tables with this header, each by its columns."""
        rows = [row for table in self.tables if table[0] == list(header) for row in table[1:]]
        assert rows, f"{self.name} has no table | {' | '.join(header)} |"
        return [dict(zip(header, row, strict=True)) for row in rows]


_LINK = re.compile(r"(?<!!)\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_SPAN = re.compile(r"(`+)(.+?)\1")


def cells(line: str) -> list[str]:
    """The cells of a table's line; ``\\|`` is no border."""
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def read(path: Path) -> Page:
    """Take a page apart; raises ``AssertionError`` for a fence or a comment that is not closed."""
    page = Page(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    number = 0
    table: list[list[str]] | None = None
    while number < len(lines):
        line = lines[number]
        number += 1
        if fence := re.match(r"( *)(```+)([\w-]*)", line):
            table = None
            start = number
            while number < len(lines) and lines[number].strip() != fence[2]:
                number += 1
            assert number < len(lines), f"{page.name}:{start}: the block is not closed"
            text = "\n".join(one.removeprefix(fence[1]) for one in lines[start:number])
            page.blocks.append(Block(fence[3], text, start + 1))
            number += 1
        elif line.startswith("<!--"):
            start = number
            while "-->" not in lines[number - 1]:
                number += 1
                assert number <= len(lines), f"{page.name}:{start}: the comment is not closed"
            _comment(page, lines[start - 1 : number], start)
        elif re.match(r"\|.*\|$", line):
            row = cells(line)
            if table is None:
                table = [row]
                page.tables.append(table)
            elif not all(re.fullmatch(r":?-+:?", cell) for cell in row):
                table.append(row)
            _inline(page, line, number)
        else:
            table = None
            if heading := re.match(r"(#+) (.*)", line):
                page.headings.append((len(heading[1]), heading[2].strip()))
            _inline(page, line, number)
    return page


def _inline(page: Page, line: str, number: int) -> None:
    page.code_spans.extend((number, span[2].strip()) for span in _SPAN.finditer(line))
    page.links.extend((number, link[1]) for link in _LINK.finditer(_SPAN.sub("code", line)))


def _comment(page: Page, lines: list[str], line: int) -> None:
    first = lines[0].removeprefix("<!--").removesuffix("-->").strip()
    if first == "python":
        assert lines[-1].strip() == "-->", f"{page.name}:{line}: the end of the comment stands on a line of its own"
        page.blocks.append(Block("python", "\n".join(lines[1:-1]), line + 1, hidden=True))
    elif first.startswith("database:"):
        page.database = first.partition(":")[2].strip()


def pages() -> list[Page]:
    """README, CHANGELOG and everything below ``docs/``."""
    return [read(path) for path in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))) if path.exists()]
