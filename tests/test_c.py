"""The C tests on this machine, built at -O3 by tools/test_c.py; `make check` runs them under sanitizers, too."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMPILER = os.environ.get("CC", "cc")
DRIVER = Path(__file__).parents[1] / "tools" / "test_c.py"
PROGRAMS = ["test_answers", "test_kernels", "test_images", "test_rows"]


@pytest.mark.skipif(shutil.which(COMPILER.split()[0]) is None, reason=f"no C compiler ({COMPILER}) to build the tests")
def test_kernels_and_images_hold_in_c():
    command = [sys.executable, str(DRIVER), "--cc", COMPILER, "--optimized", *PROGRAMS]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("ok   ") == len(PROGRAMS), done.stdout
