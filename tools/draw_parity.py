"""Draws models at random and compares them with the frameworks that made them; writes docs/parity.md.

python tools/draw_parity.py --count 3000       # shared among the frameworks, a process each on a core each
python tools/draw_parity.py keras --count 100 --seed 5

How they are drawn stands in tests/parity/drawn_*.py, what is compared in tests/parity/drawing.py. The command fails at
the first model that is read otherwise than its framework runs it, and prints it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "parity")]
os.environ |= {"OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}
os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "TF_USE_LEGACY_KERAS": "0"}

PAGE = ROOT / "docs" / "parity.md"

INTRODUCTION = """\
Stacks, branches, wrappers and options are drawn at random (tests/parity/drawn_*.py), every weight and bias is another
random number. A drawn model is saved, read from its file (PyTorch: from its file or its live module) and run on three
sequences, in float64 by the reference and in float32 by the C core. Errors are parts of max(1, max|y|) beside the
framework; 5e-6 is allowed. *Unsteady* are models so ill-conditioned that float32 arithmetic of the very same equations
is off by more than 1e-6: they are counted and set aside.
"""

S8 = """\
Where a model can be stepped and quantized, its int8 answers from the C core are held against those of the noise model:
the same int8 weights and 16-bit tensors under exact arithmetic (tests/simulate.py). The loss is by how many dB they are
further from float64 than that and the error of the integer tanh (1e-4) allow; a model counts for each family of layers
in it.
"""


@dataclass(frozen=True)
class Framework:
    """What draws a framework's models, and the packages it takes."""

    title: str
    module: str
    needs: tuple[str, ...]


FRAMEWORKS = {
    "keras": Framework("Keras 3", "drawn_keras", ("tensorflow", "keras")),
    "tf_keras": Framework("tf_keras (Keras 2)", "drawn_keras", ("tensorflow", "tf_keras")),
    "torch": Framework("PyTorch", "drawn_torch", ("torch",)),
    "onnx": Framework("ONNX Runtime", "drawn_onnx", ("onnxruntime", "onnx")),
}


def draw(name: str, count: int, folder: Path, seed: int | None = None) -> Any:
    """The tally of so many drawn models of a framework."""
    from drawing import drawn

    module = importlib.import_module(FRAMEWORKS[name].module)
    case = module.case
    if FRAMEWORKS[name].module == "drawn_keras":
        keras = importlib.import_module(name)

        def case(draw: Any, folder: Path) -> Any:
            return module.case(keras, draw, folder)

    return drawn(case, count, folder, module.ALLOWED, seed)


def report(name: str, count: int, seed: int | None) -> dict[str, Any]:
    """`draw` with the versions and the time it took, as JSON can hold it."""
    from drawing import DISTRIBUTIONS

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        tally = draw(name, count, Path(folder), seed)
    versions = {package: version(DISTRIBUTIONS.get(package, package)) for package in FRAMEWORKS[name].needs}
    found = {field.name: getattr(tally, field.name) for field in fields(tally)}
    return found | {"versions": versions, "seconds": time.monotonic() - start}


def apart(name: str, count: int, seed: int | None = None) -> dict[str, Any]:
    """`report`, made by a process of its own: hypothesis draws by what modules a process has loaded."""
    command = [sys.executable, __file__, name, "--count", str(count), "--json"]
    command += ["--seed", str(seed)] if seed is not None else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def page(found: dict[str, dict[str, Any]], count: int) -> str:
    """docs/parity.md."""
    lines = [
        "# Drawn models beside their frameworks",
        "",
        f"`python tools/draw_parity.py --count {count}`, {date.today()}, Python {platform.python_version()}.",
        "",
        *INTRODUCTION.splitlines(),
        "",
        "| framework | models | unsteady | refused | largest error, C core | reference |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        refused = sum(one["refused"].values())
        versions = ", ".join(f"{package} {number}" for package, number in one["versions"].items())
        lines.append(
            f"| {FRAMEWORKS[name].title} ({versions}) | {one['drawn']} | {one['unsteady']} | {refused} | "
            f"{one['worst']:.1e} | {one['worst_reference']:.1e} |"
        )
    lines += [
        "",
        *S8.splitlines(),
        "",
        "| framework | layers | models | median loss, dB | largest |",
        "|---|---|---|---|---|",
    ]
    for name, one in found.items():
        for family, losses in sorted(one["losses"].items()):
            middle = sorted(losses)[len(losses) // 2]
            lines.append(f"| {FRAMEWORKS[name].title} | {family} | {len(losses)} | {middle:.3f} | {max(losses):.2f} |")
    lines += ["", "## Refusals", "", "Each is what [support.md](support.md) says.", ""]
    lines += [
        f"* {FRAMEWORKS[name].title}: {reason}: {times}"
        for name, one in found.items()
        for reason, times in sorted(one["refused"].items())
    ] or ["None."]
    lines += ["", "## Layers", "", "How often each occurs in the models.", ""]
    for name, one in found.items():
        kinds = ", ".join(f"{kind} {times}" for kind, times in Counter(one["kinds"]).most_common())
        lines += [f"**{FRAMEWORKS[name].title}**: {kinds}.", ""]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "frameworks", nargs="*", choices=[[], *FRAMEWORKS], help="default: all, and docs/parity.md is written"
    )
    parser.add_argument("--count", type=int, default=3000, help="models, shared among the frameworks")
    parser.add_argument("--seed", type=int, help="others than the usual ones")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.json:
        warnings.simplefilter("ignore")
        print(json.dumps(report(options.frameworks[0], options.count, options.seed)))
        return 0
    names = options.frameworks or list(FRAMEWORKS)

    def one(name: str) -> dict[str, Any]:
        made = apart(name, -(-options.count // len(names)), options.seed)
        print(
            f"{name}: {made['drawn']} models in {made['seconds']:.0f} s, largest error {made['worst']:.1e}", flush=True
        )
        return made

    with ThreadPoolExecutor(os.cpu_count()) as cores:
        try:
            found = dict(zip(names, cores.map(one, names), strict=True))
        except subprocess.CalledProcessError as error:  # which has printed the model
            return int(error.returncode)
    if not options.frameworks:
        PAGE.write_text(page(found, options.count))
    return 0


if __name__ == "__main__":
    sys.exit(main())
