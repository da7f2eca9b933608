"""Compare EdgeLSTM with every peer: the same nets in one run, one thread, one core, in turns.

    pip install ".[peers]"
    python tools/compare_peers.py             measures, keeps docs/benchmarks/peers.json, renders
    python tools/compare_peers.py --render    renders what was measured before
    python tools/compare_peers.py --quick     a look at everything in about a minute, kept in build/ alone

Each peer runs in a process of its own, blocked on its pipe while others run; the order is drawn anew each round. No
form is timed before its answers stood beside float64 ones: a float form that is wrong is refused, and int8 carries its
decibels. docs/benchmarks.md gets the tables and docs/images/peers.svg the figure. What the libraries say while they run
is in build/peers/log.txt.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shlex
import sys
from pathlib import Path
from typing import Any

from peers import IN_C, PEERS, cases, find, footprint, loads, measure, render, rtneural
from peers.client import python

from edgelstm import kernels

ROOT = Path(__file__).parent.parent
WORK = ROOT / "build/peers"
KEPT = ROOT / "docs/benchmarks/peers.json"
FULL = {"rounds": 21, "turn": 0.02}
QUICK = {"rounds": 3, "turn": 0.002}
ALL = (*PEERS, *IN_C)
OWN = ("EdgeLSTM", "EdgeLSTM in C", "the limit")  # a peer may lack a form, these may not
QUICK_CASES = ("8-16", "64-128", "sensor stack")


def main() -> int:
    options = arguments()
    if options.render:
        render.write(json.loads(KEPT.read_text("utf-8")), ROOT)
        return 0
    if options.rtneural and not (options.rtneural / "CMakeLists.txt").is_file():
        sys.exit(f"{options.rtneural}: no work tree of RTNeural")
    os.sched_setaffinity(0, {options.core})  # and of every process started from here
    if options.rtneural:
        os.environ[rtneural.VARIABLE] = str(options.rtneural.resolve())
    started = datetime.datetime.now(datetime.UTC)
    WORK.mkdir(parents=True, exist_ok=True)
    with (WORK / "log.txt").open("w") as log:
        result = measured(options, log)
    result["about"]["minutes"] = round((datetime.datetime.now(datetime.UTC) - started).total_seconds() / 60, 1)
    whole = not (options.quick or options.case or options.peer)
    path = options.output or (KEPT if whole else WORK / "peers.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(result), "utf-8")
    print(render.markdown(result))
    if path == KEPT:
        render.write(result, ROOT)
    missing = [row for rows in result["cases"].values() for row in rows if "why" in row]
    return 1 if any(row["why"].startswith("refused") or row["peer"] in OWN for row in missing) else 0


def text(result: dict[str, Any]) -> str:
    """As JSON, each list of numbers on one line."""
    found = json.dumps(result, indent=1)
    return re.sub(r"\[[-+.\de,\s]+\]", lambda numbers: " ".join(numbers[0].split()), found) + "\n"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=[case.name for case in cases.CASES], help="this case alone")
    parser.add_argument("--peer", action="append", choices=[peer.name for peer in ALL], help="this peer alone")
    parser.add_argument("--quick", action="store_true", help=f"few rounds of {', '.join(QUICK_CASES)}")
    parser.add_argument("--rounds", type=int, help=f"turns of each form; {FULL['rounds']}")
    parser.add_argument("--turn", type=float, help=f"seconds of a turn; {FULL['turn']}")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core; the last")
    parser.add_argument("--rtneural", type=Path, help="a work tree of RTNeural, to be called in C++")
    parser.add_argument("--output", type=Path, help=f"the JSON file; {KEPT.relative_to(ROOT)} for a whole run")
    parser.add_argument("--render", action="store_true", help="measure nothing; tables and figure of the kept JSON")
    return parser.parse_args()


def measured(options: argparse.Namespace, log: Any) -> dict[str, Any]:
    """All that is rendered."""
    plan = QUICK if options.quick else FULL
    rounds, seconds = options.rounds or plan["rounds"], options.turn or plan["turn"]
    names = options.peer or [peer.name for peer in ALL]
    wanted = options.case or (QUICK_CASES if options.quick else [case.name for case in cases.CASES])
    chosen = [case for case in cases.CASES if case.name in wanted]
    result = {"about": about(rounds, seconds, log), "cases": {}}
    if options.rtneural:
        result["about"]["versions"]["RTNeural"] = rtneural.version(options.rtneural)
    folders = prepare(chosen, names, log)
    for case in chosen:
        print(f"{case.name} ...", file=sys.stderr, flush=True)
        result["cases"][case.name] = measure.case(folders[case.name], names, rounds, seconds, log)
    print("footprint, data and streams ...", file=sys.stderr, flush=True)
    result["array"] = {case.name: loads.array(case) for case in chosen}
    if cases.SENSOR in chosen:
        result["footprint"] = footprint.measure(names, folders[cases.SENSOR.name], options.quick, log)
    result |= loads.measure(options.quick, log)
    return result


def about(rounds: int, seconds: float, log: Any) -> dict[str, Any]:
    """What the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return {
        "date": datetime.date.today().isoformat(),
        "command": command(),
        "cpu": models[0] if models else platform.machine(),
        "kernels": kernels()[0],
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "versions": measure.versions(log),
        "rounds": rounds,
        "turn": seconds,
    }


def command() -> str:
    """What was typed, without where RTNeural lay."""
    said = shlex.join(["python", *sys.argv])
    return re.sub(r"--rtneural[ =]\S+", "--rtneural PATH", said)


def prepare(chosen: list[cases.Case], names: list[str], log: Any) -> dict[str, Path]:
    """The cases' folders with the files of every peer."""
    folders = {case.name: cases.write(case, WORK) for case in chosen}
    modules = dict.fromkeys(peer.files for peer in map(find, names) if peer.files)
    for module in modules:
        print(f"{module} ...", file=sys.stderr, flush=True)
        python("-m", "peers.prepare", module, *map(str, folders.values()), log=log)
    return folders


if __name__ == "__main__":
    sys.exit(main())
