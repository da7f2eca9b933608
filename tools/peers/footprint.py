"""What each peer weighs: installed size, import, and the way of a new process to its first answer."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from . import find
from .client import environment

TIMES = 9
IMPORT = """
import time
import numpy
start = time.perf_counter()
import {}
print(time.perf_counter() - start)
"""


def measure(names: list[str], folder: Path, quick: bool, log: Any) -> list[dict[str, Any]]:
    """A row for each peer that a package brings, with the sensor stack for its net."""
    rows = []
    for name in names:
        peer = find(name)
        if peer.package is None:
            continue
        times = 2 if quick else TIMES
        try:
            imports = [float(printed("-c", IMPORT.format(peer.imports), log=log)) for _ in range(times)]
            firsts = [first(name, folder, log) for _ in range(times)]
        except (subprocess.CalledProcessError, ValueError):
            rows.append({"peer": name, "why": "cannot be run here"})
            continue
        rows.append(
            {
                "peer": name,
                "form": firsts[0]["form"],
                "installed": installed(peer.package),
                "import": statistics.median(imports) * 1000,
                "memory": statistics.median(one["memory"] for one in firsts),
                "first": statistics.median(one["seconds"] for one in firsts) * 1000,
            }
        )
    return rows


def printed(*arguments: str, log: Any) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment(), stdout=subprocess.PIPE, stderr=log, check=True, text=True).stdout


def first(name: str, folder: Path, log: Any) -> dict[str, Any]:
    """A new process until it has answered one step: seconds, and the most memory it had, in MB."""
    command = [sys.executable, "-m", "peers.first", name, str(folder)]
    start = time.perf_counter()
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, stderr=log, text=True) as process:
        line = process.stdout.readline()
        seconds = time.perf_counter() - start
    return {"seconds": seconds, **json.loads(line)}


def installed(package: str) -> float | None:
    """MB of a package and of all that it drags in, NumPy left out; None where it runs from its source."""
    seen, waiting = {"numpy"}, [package]
    total = 0
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return None
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in seen:
            continue
        seen.add(name)
        try:
            found = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # pip left it out here
        total += sum(size(file) for file in found.files or ())
        needed = map(Requirement, found.requires or ())
        waiting += [one.name for one in needed if one.marker is None or one.marker.evaluate({"extra": ""})]
    return total / 1e6


def size(file: metadata.PackagePath) -> int:
    """Bytes on disk; what Python compiled is not counted."""
    path = Path(file.locate())
    return path.stat().st_size if path.is_file() and path.suffix != ".pyc" else 0
