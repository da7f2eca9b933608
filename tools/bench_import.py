"""What `import edgelstm` adds to `import numpy`: milliseconds, medians of interleaved fresh processes.

python tools/bench_import.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

ROUNDS = 25
PROGRAM = "import time, {}; t = time.perf_counter(); import {}; print((time.perf_counter() - t) * 1e3)"


def fresh(before: str, module: str) -> float:
    """Milliseconds that importing `module` takes in a new process that has imported `before`."""
    command = [sys.executable, "-c", PROGRAM.format(before, module)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    rows = [(fresh("sys", "numpy"), fresh("numpy", "edgelstm")) for _ in range(ROUNDS)]
    numpy, ours = (statistics.median(column) for column in zip(*rows, strict=True))
    print("| `import numpy`, ms | `import edgelstm` after it, ms |")
    print("|---|---|")
    print(f"| {numpy:.0f} | {ours:.1f} |")


if __name__ == "__main__":
    main()
