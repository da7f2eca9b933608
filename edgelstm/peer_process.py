"""Runs a function of `peers` or `converter` in a process of its own, where a framework may crash or hang."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import errors
from .errors import EdgeLstmError, PeerError
from .model import Array

TIMEOUT = 600.0  # seconds; importing a framework on a small machine takes a minute

_START = "import sys; from edgelstm.peer_process import serve; serve(sys.argv[1], sys.argv[2])"

_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "CUDA_VISIBLE_DEVICES": "",  # graphics cards multiply with fewer bits
    "OMP_NUM_THREADS": "1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
}


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What another framework made of whole sequences."""

    ys: tuple[Array, ...]  # per output, [N, T, width] or [N, width]
    peer: str  # framework and version
    integer: bool = False  # it computed with int8
    left_out: bool = False  # it gave more, a state beside its answers


class Died(PeerError):
    """The process ended, or was stopped, before it could say anything."""

    def __init__(self, message: str, end: str) -> None:
        super().__init__(message)
        self.end = end  # "died by signal 11 (Segmentation fault)"


def call(
    function: str,
    path: Path,
    xs: Sequence[Array],
    timeout: float,
    name: str | None = None,
    module: str = "peers",
    **options: Any,
) -> Answers:
    """The answers of `<module>.<function>(path, xs, **options)`, of this package, computed in a child process.

    name: what errors call the file, its own name unless given. Died if the process ends otherwise than by an answer or
    an error.
    """
    name = path.name if name is None else name
    with tempfile.TemporaryDirectory(prefix="edgelstm.") as folder:
        np.savez(Path(folder) / "xs.npz", *xs)
        request = {
            "module": module,
            "function": function,
            "path": str(path.resolve()),
            "name": name,
            "options": options,
        }
        search = [entry or os.getcwd() for entry in sys.path]
        environment = {**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(search)}
        command = [sys.executable, "-P", "-c", _START, folder, json.dumps(request)]
        try:
            process = subprocess.run(
                command,
                env=environment,
                timeout=timeout,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                errors="replace",
            )
        except subprocess.TimeoutExpired:
            end = f"was still running after {timeout:g} s and was stopped"
            raise Died(f"{name!r} {end}", end) from None
        if process.returncode or not (Path(folder) / "reply.json").exists():
            raise Died(f"running {name!r} ended its process {_ending(process)}", _end(process))
        reply = json.loads((Path(folder) / "reply.json").read_text())
        if "error" in reply:
            raise getattr(errors, reply["error"])(reply["message"])
        with np.load(Path(folder) / "ys.npz") as stored:
            ys = tuple(stored[f"arr_{k}"] for k in range(len(stored.files)))
    return Answers(ys, reply["peer"], reply["integer"], reply["left_out"])


def _ending(process: subprocess.CompletedProcess[str]) -> str:
    if process.returncode < 0:
        return f"by {signal.Signals(-process.returncode).name}; the file is damaged, or its framework has a fault"
    said = process.stderr.strip().splitlines()
    return f"with code {process.returncode}: {said[-1] if said else 'no message'}"


def _end(process: subprocess.CompletedProcess[str]) -> str:
    """The same without a guess why, but that a process is killed where memory runs out."""
    if process.returncode >= 0:
        return f"ended {_ending(process)}"
    number = signal.Signals(-process.returncode)
    why = ", as a system does that runs out of memory" if number is signal.SIGKILL else ""
    return f"died by signal {number.value} ({signal.strsignal(number) or number.name}{why})"


def _gist(message: str) -> str:
    """A framework's message in a line: its first sentence, or where that only leads to another, its last."""
    said = [line.strip() for line in message.strip().splitlines() if line.strip()] or ["no message"]
    line = "".join(c if c.isprintable() else "?" for c in (said[-1] if said[0].endswith(":") else said[0]))
    return line if len(line) <= 200 else line[:197] + "..."


def serve(folder: str, request: str) -> None:
    """The child's side of `call`."""
    wanted = json.loads(request)
    with np.load(Path(folder) / "xs.npz") as stored:
        xs = [stored[f"arr_{k}"] for k in range(len(stored.files))]
    try:
        module = importlib.import_module(f"{__package__}.{wanted['module']}")
        answers = getattr(module, wanted["function"])(Path(wanted["path"]), xs, **wanted["options"])
        np.savez(Path(folder) / "ys.npz", *answers.ys)
        reply: dict[str, Any] = {"peer": answers.peer, "integer": answers.integer, "left_out": answers.left_out}
    except EdgeLstmError as error:
        reply = {"error": type(error).__name__, "message": str(error)}
    except Exception as error:
        reply = {"error": "PeerError", "message": f"{wanted['name']!r}: {type(error).__name__}: {_gist(str(error))}"}
    (Path(folder) / "reply.json").write_text(json.dumps(reply))
