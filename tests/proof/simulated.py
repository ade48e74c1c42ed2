"""The parts that need no real process: the simulation over virtual time, and Hypothesis."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from .lines import Line, Part

ROOT = Path(__file__).parents[2]
EXAMPLES = re.compile(r"(\d+) passing examples, (\d+) failing")


def _thaw_is_identity(scale: float, seed: int) -> Iterator[Line]:
    """P12, with the profile that ``tests/properties`` registers for this."""
    command = [sys.executable, "-m", "pytest", "tests/properties", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=proof"]
    command += ["--hypothesis-show-statistics", f"--hypothesis-seed={seed}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "COLUMNS": "200"})
    examples = [(int(passing), int(failing)) for passing, failing in EXAMPLES.findall(done.stdout)]
    broken = [] if done.returncode == 0 else [done.stdout[-3000:] + done.stderr[-1000:]]
    yield Line("P12", "random calls, snapshots, hibernations and crashes (Hypothesis)", sum(passing for passing, _ in examples), 500, "examples", broken)


PARTS = [Part("thaw is identity", _thaw_is_identity)]
