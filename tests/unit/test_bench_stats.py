"""What the bench makes of measurements."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from jido_objects.bench import report
from jido_objects.bench.progress import Progress, progress
from jido_objects.bench.stats import Figure, Ratio, Run, Spread, Target, Workload, alternate, figure, measure, p50, per_call, rate, summary


class Scripted:
    """A side whose runs have been written down."""

    def __init__(self, title: str, log: list[str], counts: Iterator[int], wrong: str | None = None) -> None:
        self.title = title
        self.log = log
        self.counts = counts
        self.wrong = wrong

    def prepare(self) -> None:
        self.log.append(f"prepare {self.title}")

    def run(self, seconds: float) -> Run:
        self.log.append(self.title)
        count = next(self.counts)
        return Run(count, seconds, [seconds / count] * count, {"host_cpu": seconds / 2})

    def check(self) -> str | None:
        self.log.append(f"check {self.title}")
        return self.wrong

    def close(self) -> None:
        self.log.append(f"close {self.title}")


class TestRuns:
    def test_a_rate_and_percentiles(self) -> None:
        run = Run(4, 2.0, [0.4, 0.1, 0.2, 0.3])
        assert run.rate == 2.0
        assert [run.percentile(percent) for percent in (0, 25, 50, 75, 99, 100)] == [0.1, 0.1, 0.2, 0.3, 0.4, 0.4]
        assert (rate(run), p50(run), per_call(run)) == (2.0, 0.2, 0.5)

    def test_nothing_was_measured(self) -> None:
        run = Run(0, 0.0)
        assert (run.rate, run.percentile(50), per_call(run)) == (0.0, 0.0, 0.0)
        assert Spread.of([]) == Spread(0.0, 0.0, 0.0)

    def test_parts_add_up(self) -> None:
        run = Run(1, 1.0, [1.0], {"host_cpu": 0.5})
        run.add(Run(3, 1.0, [0.3, 0.3, 0.4], {"host_cpu": 0.25, "caller_cpu": 0.1}))
        assert run == Run(4, 2.0, [1.0, 0.3, 0.3, 0.4], {"host_cpu": 0.75, "caller_cpu": 0.1})
        assert summary([run])["host_cpu_per_call"] == 0.75 / 4

    def test_a_spread_is_median_and_ends(self) -> None:
        assert Spread.of([5.0, 1.0, 3.0, 2.0]) == Spread(2.5, 1.0, 5.0)


class TestTargets:
    def test_at_least_and_at_most(self) -> None:
        assert Target(80).met(80)
        assert not Target(80).met(79.9)
        assert Target(1.5, at_most=True).met(1.5)
        assert not Target(1.5, at_most=True).met(1.51)
        assert str(Target(3000, unit="/s")) == "≥ 3,000 /s"
        assert str(Target(1.08, at_most=True)) == "≤ 1.08 ×"

    def test_a_target_with_a_unit_judges_our_own_figure(self) -> None:
        values = {"reference": Spread.of([10.0]), "ratio": Spread.of([400.0])}
        assert Figure("w", "t", Spread.of([4000.0]), "/s", target=Target(3000, unit="/s"), **values).ok is True  # type: ignore[arg-type]
        assert Figure("w", "t", Spread.of([4000.0]), "/s", target=Target(3000), **values).ok is False  # type: ignore[arg-type]

    def test_nothing_claimed_is_neither_met_nor_missed(self) -> None:
        assert Figure("w", "t", Spread.of([1.0]), "/s").ok is None

    def test_a_wrong_final_state_does_not_count(self) -> None:
        found = Figure("w", "t", Spread.of([1.0]), "/s", ratio=Spread.of([100.0]), target=Target(80), wrong=["lost one"])
        assert found.ok is False
        assert "WRONG STATE" in report.table([found])
        assert "lost one" in report.table([found])


class TestAlternation:
    def test_sides_take_turns_in_reversed_order_every_other_time(self) -> None:
        log: list[str] = []
        sides = {name: Scripted(name, log, iter([1] * 9)) for name in "abc"}
        runs = alternate(sides, rounds=3, seconds=1.0)
        assert "".join(log) == "abccbaabc"
        assert {name: len(found) for name, found in runs.items()} == {"a": 3, "b": 3, "c": 3}

    def test_parts_of_a_round_are_one_run(self) -> None:
        log: list[str] = []
        ticks: list[str] = []
        sides = {name: Scripted(name, log, iter([1, 2, 3, 4])) for name in "ab"}
        runs = alternate(sides, rounds=2, seconds=1.0, parts=2, tick=ticks.append)
        assert "".join(log) == "abbaabba" == "".join(ticks)
        assert [(run.count, run.seconds) for run in runs["a"]] == [(3, 1.0), (7, 1.0)]

    def test_the_ratio_is_of_rounds_not_of_medians(self) -> None:
        sides = {name: Scripted(name, [], iter(())) for name in ("ours", "theirs")}
        runs = {"ours": [Run(10, 1.0), Run(100, 1.0), Run(9, 1.0)], "theirs": [Run(1, 1.0), Run(50, 1.0), Run(1, 1.0)]}
        found = figure("w", Ratio("t", "ours", "theirs", target=Target(5)), sides, runs, {})
        assert found.ratio == Spread(9.0, 2.0, 10.0)
        assert found.ours == Spread(10.0, 9.0, 100.0)
        assert found.ok is True

    def test_a_workload_is_prepared_measured_checked_and_closed(self) -> None:
        log: list[str] = []
        sides = {"ours": Scripted("o", log, iter([8])), "theirs": Scripted("t", log, iter([2]), wrong="one is missing")}
        (found,) = measure(Workload("w", "title", sides, [Ratio("r", "ours", "theirs", target=Target(1))]), rounds=1, seconds=1.0)
        assert log == ["prepare o", "prepare t", "o", "t", "check o", "check t", "close t", "close o"]
        assert found.ratio == Spread(4.0, 4.0, 4.0)
        assert found.wrong == ["t: one is missing"]
        assert found.ok is False

    def test_sides_are_closed_when_one_fails(self) -> None:
        log: list[str] = []
        sides = {"ours": Scripted("o", log, iter([8])), "theirs": Scripted("t", log, iter([]))}
        with pytest.raises(StopIteration):
            measure(Workload("w", "title", sides, []), rounds=1, seconds=1.0)
        assert log[-2:] == ["close t", "close o"]


class TestReports:
    @pytest.mark.parametrize(
        ("number", "unit", "text"),
        [
            (12345.6, "/s", "12,346/s"),
            (23.46, "/s", "23.5/s"),
            (0.00123, "s", "1.23 ms"),
            (1.5, "s", "1.5 s"),
            (2.5e-05, "s", "25 µs"),
            (4e-07, "s", "0.4 µs"),
            (2048.0, "bytes", "2,048 bytes"),
            (0.674, "%", "0.674 %"),
        ],
    )
    def test_values_have_three_digits(self, number: float, unit: str, text: str) -> None:
        assert report.value(number, unit) == text

    def test_the_same_figures_as_table_markdown_and_json(self) -> None:
        ratio = Spread.of([90.0, 100.0, 110.0])
        found = Figure("w", "hot key", Spread.of([20000.0]), "/s", Spread.of([200.0]), "Django", ratio, Target(80))
        line = report.table([found]).splitlines()[2]
        assert " ".join(line.split()) == "hot key 20,000/s 200/s Django 100 [90 – 110] ≥ 80 × ok"
        assert "| hot key | 20,000/s | Django · 200/s | 100 [90 – 110] | ≥ 80 × | ok |" in report.markdown([found])
        read = json.loads(report.as_json({"PostgreSQL": [found]}, rounds=3))
        assert read["rounds"] == 3
        assert read["figures"]["PostgreSQL"][0]["ratio"] == {"median": 100.0, "low": 90.0, "high": 110.0}
        assert read["figures"]["PostgreSQL"][0]["ok"] is True

    def test_progress_without_a_terminal_is_a_line_per_workload(self, capsys: pytest.CaptureFixture[str]) -> None:
        with progress() as shown:
            assert type(shown) is Progress
            shown.start("hot key", 2)
            shown.step("ours")
            shown.start("reads", 1)
        assert [line.split(":")[0] for line in capsys.readouterr().err.splitlines()] == ["hot key", "reads"]
