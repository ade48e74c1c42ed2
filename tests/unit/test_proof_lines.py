"""How the figures of a run come into the page of promises."""

from __future__ import annotations

from tests.proof.lines import Line, promises

PAGE = """## P7 One

<!-- begin: P7 -->

| last run | count | violations |
| --- | --- | --- |
| kills, PostgreSQL (p99 1 s) | 20 kills | 0 |
| by hand | all | 0 |

<!-- end: P7 -->

## P8 Other

<!-- begin: P8 -->

<!-- end: P8 -->
"""


def test_a_line_takes_the_place_of_its_predecessor_and_no_other() -> None:
    lines = [
        Line("P7", "kills, PostgreSQL", 1000, 100, "kills", [], "p99 2 s"),
        Line("P7", "kills, SQLite", 5, 5, "kills", ["one | broke"]),
        Line("P9", "nowhere", 1, 1, "x"),
    ]
    made = promises(PAGE, lines)
    assert made == PAGE.replace(
        "| kills, PostgreSQL (p99 1 s) | 20 kills | 0 |\n| by hand | all | 0 |",
        "| kills, PostgreSQL (p99 2 s) | 1,000 kills | 0 |\n| by hand | all | 0 |\n| kills, SQLite | 5 kills | 1 |",
    )
    assert promises(made, lines) == made


def test_a_page_without_figures_gets_a_table() -> None:
    made = promises(PAGE, [Line("P8", "sockets", 3, 3, "rounds")])
    table = "| last run | count | violations |\n| --- | --- | --- |\n| sockets | 3 rounds | 0 |"
    assert made == PAGE.replace("<!-- begin: P8 -->\n", f"<!-- begin: P8 -->\n\n{table}\n")
