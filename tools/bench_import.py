"""What edgelstm adds to `import numpy`: milliseconds, medians of interleaved fresh processes.

python tools/bench_import.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys

ROUNDS = 25
PROGRAM = "import time, {}; t = time.perf_counter(); {}; print((time.perf_counter() - t) * 1e3)"
IMPORTS = ("import edgelstm", "from edgelstm import Runner")


def fresh(before: str, statement: str) -> float:
    """Milliseconds of an import in a new process that has imported `before`."""
    command = [sys.executable, "-c", PROGRAM.format(before, statement)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    rows = [
        (fresh("sys", "import numpy"), *(fresh("numpy", statement) for statement in IMPORTS)) for _ in range(ROUNDS)
    ]
    print("| import | ms |")
    print("|---|---|")
    for statement, column in zip(("import numpy", *IMPORTS), zip(*rows, strict=True), strict=True):
        print(f"| `{statement}` | {statistics.median(column):.1f} |")


if __name__ == "__main__":
    main()
