"""TFLite's own runtimes on emulated ARM, 64 and 32 bits, beside tfl8: every byte.

    python tools/test_arm_tflite.py

Unpacks Debian systems for ARM (tools/emulated.py), 300 MB each, in the user's cache folder or where --cache says.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

from emulated import DEBIANS, Failure, require, unpack_debian

ROOT = Path(__file__).resolve().parent.parent
CPUS = {"aarch64": ("cortex-a53", "cortex-a76"), "armv7l": ("cortex-a7",)}
RUNTIMES = (  # wheels for ARM; later ones of LiteRT die under the emulator, and for 32 bits there are none
    ("tflite-runtime==2.14.0", "tflite_runtime", "aarch64"),
    ("ai-edge-litert==1.4.0", "ai_edge_litert", "aarch64"),
    ("tflite-runtime==2.14.0", "tflite_runtime", "armv7l"),
)
TOLERATED = {("ai-edge-litert", "softmax"): 2, ("ai-edge-litert", "factors, mean"): 2, ("tflite-runtime", "ties"): None}
"""Values that may differ: sums of floats in a softmax, and halves in a mean, of LiteRT 1.4's delegate; halves, which
reference kernels round in a way of their own, as all do on 32-bit ARM: 6 % of cases made of halves, where its row in
ARITHMETIC is the nearest."""


def test_tflite(cache: Path | None) -> bool:
    """Whether TFLite's runtimes, emulated, answer what the reference does in the arithmetic that ARITHMETIC names."""
    roots = {machine: DEBIANS[machine].root(cache) for machine in CPUS}
    for machine, folder in roots.items():
        require(DEBIANS[machine].target)
        unpack_debian(folder, DEBIANS[machine])
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from tfl8_cases import cases

    from edgelstm.tfl8_model import ARITHMETIC

    passed = True
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "cases.pickle"
        path.write_bytes(pickle.dumps(list(cases()), protocol=4))
        for wheel, module, machine in RUNTIMES:
            runtime, site = wheel.split("==")[0], Path(name) / f"{module}-{machine}"
            command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site), wheel]
            command += ["--only-binary=:all:", "--python-version=311", "--implementation=cp"]
            command += [f"--platform=manylinux{tag}_{machine}" for tag in ("_2_34", "_2_17", "2014")]
            subprocess.run(command, check=True)
            for cpu in CPUS[machine]:
                emulated = DEBIANS[machine].python(roots[machine], cpu)
                script = str(ROOT / "tools" / "tfl8_answers.py")
                environment = os.environ | {"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
                done = subprocess.run([*emulated, script, str(path), module], env=environment, capture_output=True)
                if done.returncode != 0:
                    raise Failure(f"{wheel} on {cpu} ended with {done.returncode}\n{done.stderr.decode()[-2000:]}")
                found = json.loads(done.stdout.splitlines()[-1])
                values = wrong = tolerated = 0
                for kind, resolvers in found.items():
                    for resolver, row in resolvers.items():
                        own = ARITHMETIC[runtime, resolver, machine]
                        named = own.get(kind.split(",")[0], "")
                        # where all arithmetics agree, any is the runtime's own
                        differing = row["wrong"].get(named, max(row["wrong"].values()))
                        most = TOLERATED.get((runtime, kind), 0)
                        values += row["values"]
                        if most is None or differing <= most:
                            tolerated += differing
                        else:
                            passed = False
                            wrong += differing
                            print(f"FAIL {runtime}, {resolver}, {cpu}: {kind}: {row}")
                said = (
                    f"{wrong} of them differ, {tolerated} more where they may (floats in softmax, halves in QUANTIZE)"
                )
                print(f"{wheel} on {cpu}: {values} values, {said}", flush=True)
    return passed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="the folder of the unpacked Debians")
    options = parser.parse_args()
    try:
        return 0 if test_tflite(options.cache) else 1
    except Failure as failure:
        print(failure)
        return 2


if __name__ == "__main__":
    sys.exit(main())
