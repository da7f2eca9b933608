"""A step takes nothing from the heap: every malloc of a Python process is counted while it steps.

The child runs with PYTHONMALLOC=malloc, so that Python's own objects are counted too. That the C core has no heap at
all is proved by tests/c/test_freestanding.c and tools/check_symbols.py.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgelstm

COUNTER = Path(__file__).parent / "c" / "count_malloc.c"
COMPILER = shutil.which("cc")

CHILD = """
import ctypes
import sys
from functools import partial
from itertools import repeat
from pathlib import Path
import numpy as np
from edgelstm.runner import Runner, kernels

counter = ctypes.PyDLL(sys.argv[1]).malloc_count
counter.restype = ctypes.c_ulong

def taken(work):
    for _ in repeat(None, 100):
        work()
    before = counter()
    for _ in repeat(None, 1000):
        work()
    return counter() - before

counting = taken("".isspace)  # what reading the counter takes
assert counting < 10 and taken(list) >= 1000, "the counter sees too much or nothing"
for path in map(Path, sys.argv[2:]):
    for name in kernels():
        for streams in (1, 3):
            runner = Runner(path.read_bytes(), name, streams=streams)
            xs = tuple(np.zeros((streams, width), np.float32) for width in runner.input_widths)
            works = {"step()": (runner.step, 0), "reset()": (runner.reset, 0)}
            if len(xs) == 1:
                works["step(x)"] = partial(runner.step, xs[0]), 0
            for what, (work, expected) in works.items():
                count = taken(work) - counting
                assert count <= expected, f"{path.stem}, {name}, {streams} streams: {count} in 1000 times {what}"
                print(path.stem, name, streams, what, count)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="counting malloc needs glibc's other names for it")
@pytest.mark.skipif(COMPILER is None, reason="no C compiler (cc) to build the counter with")
def test_a_step_takes_nothing_from_the_heap(tmp_path):
    library = tmp_path / "count_malloc.so"
    subprocess.run([COMPILER, "-std=c99", "-O2", "-shared", "-fPIC", str(COUNTER), "-o", str(library)], check=True)
    names = ("f32_stacked", "f32_branch", "s8_stacked", "s8_branch", "s8_softmax")
    images = [str(COUNTER.parent.parent / "golden" / "images" / f"{name}.elstm") for name in names]
    source = str(Path(edgelstm.__file__).parents[1])
    environment = os.environ | {"LD_PRELOAD": str(library), "PYTHONMALLOC": "malloc"}
    environment["PYTHONPATH"] = os.pathsep.join([source, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-P", "-c", CHILD, str(library), *images], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2 * len(names) * 2
