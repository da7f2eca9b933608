"""Skips are loud: with EDGELSTM_STRICT=1 a skip that tests/skips.txt does not name fails the run."""

from __future__ import annotations

import fnmatch
import os
from pathlib import Path

import pytest

EXPECTED = [
    line.split("#")[0].strip()
    for line in (Path(__file__).parent / "skips.txt").read_text().splitlines()
    if line.split("#")[0].strip()
]


def _skipped(report: pytest.TestReport | pytest.CollectReport) -> str:
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return f"{report.nodeid}: {reason.removeprefix('Skipped: ')}"


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails the run for skips nobody declared."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:  # one of several processes, which report to the first
        return
    skips = [_skipped(report) for report in reporter.stats.get("skipped", [])]
    surprises = [skip for skip in skips if not any(fnmatch.fnmatch(skip, pattern) for pattern in EXPECTED)]
    if surprises and os.environ.get("EDGELSTM_STRICT") == "1":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line("")
        for skip in surprises:
            reporter.write_line(f"skipped, and tests/skips.txt does not say so: {skip}", red=True)
