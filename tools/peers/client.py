"""The other end of the pipes to the peers' processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

TOOLS = Path(__file__).parent.parent
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "TF_NUM_INTRAOP", "TF_NUM_INTEROP")}


class PeerError(Exception):
    """A peer's process said no, or died."""


def environment() -> dict[str, str]:
    """Of every process: one thread, and the modules of this folder."""
    paths = [str(TOOLS), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, **ONE_THREAD, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


def python(*arguments: str, log: Any = None) -> subprocess.CompletedProcess[str]:
    """Runs Python to its end; what it prints."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment(), stdout=subprocess.PIPE, stderr=log, text=True, check=True)


class Peer:
    """A peer's process. Use as a context."""

    def __init__(self, name: str, log: Any) -> None:
        self.name = name
        command = [sys.executable, "-m", "peers.server", name]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, env=environment(), stdin=pipe, stdout=pipe, stderr=log, text=True)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """What the process answers to a command; PeerError with its reason, or the signal that ended it."""
        try:
            self.process.stdin.write(json.dumps({"do": do, **arguments}) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise PeerError(f"its process ended with {self.process.wait()}")
        reply = json.loads(line)
        if "error" in reply:
            raise PeerError(reply["error"])
        return reply
