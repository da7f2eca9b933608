"""Files that mean harm, read in processes that are watched: tests/hostile makes them, docs/security.md is the law."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "hostile"))

from catalogue import CASES

import edgelstm

HERE = Path(__file__).parent
PACKAGE = str(Path(edgelstm.__file__).parents[1])
"""Where the package under test lies: installed, or in this folder."""

FEWEST = 120
PROCESSES = 2


def _judged(folder: Path, names: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The verdicts on some files; where a process dies the next one goes on behind the file it died at."""
    environment = os.environ | {
        "PYTHONPATH": PACKAGE,
        "HDF5_PLUGIN_PATH": str(folder / "secrets" / "plugins"),
        "OMP_NUM_THREADS": "1",
    }
    subprocess.run([sys.executable, HERE / "hostile" / "make.py", folder, *names], env=environment, check=True)
    while names:
        command = [sys.executable, HERE / "hostile" / "run.py", folder, *names]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=folder)
        lines = done.stdout.splitlines()
        said = list(zip(lines[::2], map(json.loads, lines[1::2]), strict=False))
        yield from said
        names = names[len(said) :]
        if names:
            assert lines, done.stderr
            yield names.pop(0), {"message": None, "offences": [f"died with {done.returncode}: {done.stderr[-2000:]}"]}


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Each process has a folder of its own, for it watches who opens what there."""
    folders = [tmp_path_factory.mktemp("hostile") for _ in range(PROCESSES)]
    parts = [list(CASES)[k::PROCESSES] for k in range(PROCESSES)]
    with ThreadPoolExecutor(PROCESSES) as pool:
        return dict(itertools.chain.from_iterable(pool.map(lambda *given: list(_judged(*given)), folders, parts)))


@pytest.mark.parametrize("name", CASES)
def test_gives_one_clear_error_and_no_harm(name: str, verdicts: dict[str, dict[str, Any]]) -> None:
    verdict = verdicts[name]
    assert not verdict["offences"], verdict
    words = CASES[name].words
    if words is not None:
        assert verdict["message"] is not None, "it was read"
        assert re.search(words, verdict["message"]), verdict["message"]


def test_there_are_many() -> None:
    assert sum(case.words is not None for case in CASES.values()) >= FEWEST


def test_what_the_fuzzer_starts_from_does_no_harm() -> None:
    command = [sys.executable, str(HERE.parent / "tools" / "fuzz_importers.py"), "--once"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": PACKAGE})
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d\d targets, \d{3,} inputs, 0 offend$", done.stdout, re.MULTILINE), done.stdout
