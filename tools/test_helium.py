"""The helium set on an emulated Cortex-M55: equal to scalar and to the NumPy reference.

python tools/test_helium.py           golden s8 images in the rows layout, LSTMs of many sizes
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from count_instructions import lstm
from test_firmware import BOARDS, ROOT, Failure, build, run

from edgelstm.image import pack
from edgelstm.layout import in_layout
from edgelstm.quantization import quantize

GOLDEN = ROOT / "tests" / "golden" / "images"
SIZES = ((1, 1), (3, 8), (5, 9), (17, 24), (33, 20))  # around every length of a vector
KNOWN = ((12, 72), (8, 16), (16, 32), (32, 64), (64, 128))  # and rows whose distance the loops know
LEFT_OUT = ("_f32", "tfl8", "avx", "neon", "small", "dsp")  # what such a build has not


def images() -> dict[str, bytes]:
    moved = {path.stem: in_layout(path.read_bytes(), "rows") for path in sorted(GOLDEN.glob("s8_*.elstm"))}
    for bits, sizes in ((16, SIZES), (8, SIZES + KNOWN)):
        for inputs, units in sizes:
            samples = np.random.default_rng(1).standard_normal((8, 40, inputs)).astype(np.float32)
            model = quantize(lstm(inputs, units), samples, hidden_bits=bits)
            moved[f"lstm_{inputs}_{units}_h{bits}"] = pack(model, layout="rows")
    return moved


def source(given: dict[str, bytes]) -> str:
    """C of the images as arrays."""
    lines = [
        '#include "edgelstm.h"',
        "typedef struct { const char *name; const unsigned char *bytes; uint32_t size; } listed;",
    ]
    for k, image in enumerate(given.values()):
        lines.append(
            f"static const unsigned char image_{k}[] __attribute__((aligned(16))) = {{{','.join(map(str, image))}}};"
        )
    lines.append("extern const listed images[]; extern const uint32_t image_count;")
    entries = (f'{{"{name}", image_{k}, sizeof image_{k}}}' for k, name in enumerate(given))
    lines.append(f"const listed images[] = {{{', '.join(entries)}}};")
    lines.append(f"const uint32_t image_count = {len(given)};")
    return "\n".join(lines) + "\n"


def main() -> int:
    board = BOARDS["m55"]
    core = [path for path in sorted((ROOT / "src_c").glob("*.c")) if not any(name in path.name for name in LEFT_OUT)]
    given = images()
    try:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "images.c").write_text(source(given))
            sources = [ROOT / "tests" / "firmware" / "test_helium.c", folder / "images.c", *core]
            options = [
                "-DELSTM_LAYOUT_ROWS=1",
                "-DELSTM_LINKS_F32=0",
                "-DELSTM_LINKS_TFL8=0",
                f"-I{ROOT / 'src_c'}",
                "-lm",
            ]
            ran = run(board, build(board, sources, folder / "test.elf", options))
    except Failure as failure:
        print(failure)
        return 2
    print(ran.output, end="")
    return ran.status


if __name__ == "__main__":
    sys.exit(main())
