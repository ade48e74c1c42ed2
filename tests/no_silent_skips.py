"""A test that is skipped proves nothing, so a skip fails the run unless its reason says why that is right here.

Loaded by ``make test`` (``pytest -p tests.no_silent_skips``). A reason that starts with ``not applicable:`` is accepted
and stays in the summary: it names something this machine cannot have, never something that is broken.
"""

from __future__ import annotations

import pytest

ACCEPTED = "not applicable:"


class NoSilentSkips:
    def __init__(self) -> None:
        self.unexpected: list[str] = []

    def _record(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not reason.startswith(ACCEPTED):
            self.unexpected.append(f"{report.nodeid}: {reason}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._record(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._record(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.unexpected and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.unexpected:
            return
        terminalreporter.section("skipped without an expected reason", red=True)
        for line in self.unexpected:
            terminalreporter.write_line(line)
        terminalreporter.write_line(f"A skip is accepted when its reason starts with {ACCEPTED!r}.")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(NoSilentSkips(), "no-silent-skips-recorder")
