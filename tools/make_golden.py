"""Write tests/golden/images: an image of every model in tests/golden_models.py, and a checksum of the answers that the
NumPy reference gives for each s8 and tfl8 one. Images that are there already stay as they are: they prove that old
ones run.

From the root of the repository: PYTHONPATH=. python tools/make_golden.py
"""

import sys
from pathlib import Path

from edgelstm.image import pack

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from golden_models import ANSWERS, FOLDER, PACKED, QUANTIZED, quantized, reference_answers

from edgelstm.model import Model


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    known = dict(line.split() for line in ANSWERS.read_text().splitlines()) if ANSWERS.exists() else {}
    for name in (*PACKED, *QUANTIZED):
        path = FOLDER / f"{name}.elstm"
        if path.exists():
            continue
        model = PACKED[name] if name in PACKED else quantized(QUANTIZED[name])
        path.write_bytes(pack(model))
        if not isinstance(model, Model):
            known[name] = f"{reference_answers(name, model):08x}"
        print(f"{path.name}: {path.stat().st_size} bytes")
    ANSWERS.write_text("".join(f"{name} {crc}\n" for name, crc in sorted(known.items())))


if __name__ == "__main__":
    main()
