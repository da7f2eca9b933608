"""Who may use whom: fails where a file includes or imports what docs/design.md, "Who may use whom", does not allow.

python tools/check_layers.py
"""

from __future__ import annotations

import ast
import fnmatch
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent

# A module may import those of the lines above its own, and those named beside it.
PYTHON = (
    ("errors",),
    ("meta", "toml", "files"),
    ("shapes", "description", "_core", "targets"),
    ("work",),
    ("costs",),
    ("layers", "layout"),
    ("quantized", "tfl8", "activations"),
    ("timing", "reference_cells", "reference_steps", "blocks", "fixedpoint", "tfl8_integers"),
    ("reference_s8_cells", "reference_s8_steps", "whole", "records_cells", "tfl8_constants"),
    ("model",),
    ("tfl8_model",),
    ("reference", "random_inputs", "meta_file", "arrays", "lines", "comparison", "recording"),
    ("report",),
    ("page",),
    ("drift", "reference_s8", "reference_tfl8", "curves", "calibration", "ranges", "importers"),
    ("balance", "rounding"),
    ("records_steps",),
    ("records_tfl8",),
    ("records",),
    ("image",),
    ("quantization_cells", "quantization_steps"),
    ("quantization_layers", "runner"),
    ("range_search", "horizon"),
    ("quantization", "exporters"),
    ("stream", "peers", "bench"),
    ("converter",),
    ("proof", "validation"),
    ("proof_tflite", "plan"),
    ("demo",),
    ("report_tables",),
    ("plan_tables",),
    ("cli",),
)
OUTSIDE = {  # packages other than NumPy and Python's own, and who may import them
    "click": {"cli"},
    "rich": {"cli", "report_tables", "plan_tables"},
    "h5py": {"importers"},
    "safetensors": {"importers"},
    "onnx": {"importers"},
    "google": {"importers"},
    "onnxruntime": {"peers"},
    "flatbuffers": {"exporters"},
    "matplotlib": {"demo"},
    "jinja2": {"page", "exporters"},
    "markupsafe": {"page"},
    "torch": {"importers", "peers"},
    "tensorflow": {"peers", "converter"},
    "keras": {"peers"},
    "tf_keras": {"peers"},
    "tflite_runtime": {"peers"},
    "tflite_micro": {"peers"},
    "ai_edge_litert": {"peers"},
}
FREE = sys.stdlib_module_names | {"numpy", "__version__"}
HEADERS = {  # what a C file may include of the core; the first pattern that fits counts
    "elstm_build.h": set(),
    "edgelstm.h": {"elstm_build.h"},
    "fixedpoint.h": set(),
    "activations.h": {"kernels.h"},
    "kernels.h": {"edgelstm.h", "fixedpoint.h"},
    "cells.h": {"activations.h"},
    "op.h": {"activations.h", "cells.h", "edgelstm.h", "kernels.h", "tfl8.h"},
    "tfl8.h": {"kernels.h"},
    "kernels_loops.h": {"activations.h", "fixedpoint.h", "kernels.h"},
    "kernels.c": {"kernels.h"},
    "kernels_x86.h": {"activations.h", "kernels.h"},
    "kernels_x86_tfl8.h": {"kernels.h", "kernels_x86.h"},
    "kernels_avx512*": {
        "kernels.h",
        "kernels_loops.h",
        "kernels_x86.h",
        "kernels_x86_tfl8.h",
        "kernels_avx512_f32.h",
        "kernels_avx512_tfl8.h",
    },
    "kernels_avx2.c": {"kernels.h", "kernels_loops.h", "kernels_x86.h", "kernels_x86_tfl8.h"},
    "kernels_neon_tfl8.h": {"kernels.h"},
    "kernels_*": {
        "kernels.h",
        "kernels_loops.h",
        "kernels_neon.h",
        "kernels_neon_tfl8.h",
        "activations.h",
        "fixedpoint.h",
    },
    "activations*.c": {"activations.h", "fixedpoint.h"},
    "runner.c": {"op.h"},
    "*": {"edgelstm.h", "op.h", "fixedpoint.h"},
}
SYSTEM = {"float.h", "stddef.h", "stdint.h", "string.h"}
PROBES = {"kernels.c": {"cpuid.h", "sys/auxv.h", "sys/sysctl.h"}}
INTRINSICS = {"immintrin.h", "arm_neon.h", "arm_mve.h"}
"""Only in kernels_<isa>.c."""


def main() -> int:
    faults = [*python_faults(), *c_faults()]
    print("\n".join(faults) or "layers: every file uses only what it may")
    return 1 if faults else 0


def python_faults() -> list[str]:
    faults = []
    rank = {name: k for k, line in enumerate(PYTHON) for name in line}
    for path in sorted((ROOT / "edgelstm").rglob("*.py")):
        parts = path.relative_to(ROOT / "edgelstm").with_suffix("").parts
        if parts == ("__init__",):
            continue
        room = "peers" if parts[0] == "peer_process" else parts[0]
        where = path.relative_to(ROOT)
        if room not in rank:
            faults.append(f"{where}: stands on no line of tools/check_layers.py")
            continue
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
                faults.append(f"{where}:{node.lineno}: prints; only cli.py may, and it has a console for that")
            for name in imported(node, parts):
                top = "peers" if name == "peer_process" else name
                if top in rank:
                    if top != room and rank[top] >= rank[room]:
                        faults.append(f"{where}:{node.lineno}: uses {top}, which stands beside or above it")
                elif top not in FREE and room not in OUTSIDE.get(top, set()):
                    faults.append(f"{where}:{node.lineno}: imports {top}, which is not its business")
    return faults


def imported(node: ast.AST, parts: tuple[str, ...]) -> list[str]:
    """Rooms of the package, or names of other packages, that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name.split(".")[0] for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    if node.level == 0:
        return [(node.module or "").split(".")[0]]
    inside = len(parts) - node.level  # folders below edgelstm/ in which the name is looked up
    if inside > 0:
        return [parts[0]]
    if node.module is None:
        return [alias.name for alias in node.names]
    return [node.module.split(".")[0]]


def c_faults() -> list[str]:
    faults = []
    for path in sorted((ROOT / "src_c").glob("*.[ch]")):
        allowed = next(names for pattern, names in HEADERS.items() if fnmatch.fnmatch(path.name, pattern))
        kernel = re.fullmatch(r"kernels_(?!loops|scalar)\w+\.c", path.name) is not None
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*[<"](.+?)[>"]', line)
            if found is None:
                continue
            name = found[1]
            fine = name in allowed | SYSTEM | PROBES.get(path.name, set()) or (kernel and name in INTRINSICS)
            if not fine:
                faults.append(f"{path.relative_to(ROOT)}:{number}: includes {name}, which is not its business")
    return faults


if __name__ == "__main__":
    sys.exit(main())
