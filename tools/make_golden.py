"""Write tests/golden: an image of every model in tests/golden_models.py, and answers.json, with the hash of each image
and the answers that the NumPy references give. Images and answers that are there already stay as they are: they prove
that old images run.

From the root of the repository: PYTHONPATH=. python tools/make_golden.py
"""

import hashlib
import json
import sys
from pathlib import Path

from edgelstm.image import pack
from edgelstm.runner import Runner

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from golden_answers import ANSWERS, expected
from golden_models import FOLDER, PACKED, QUANTIZED, quantized, reference_answers


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    known = expected() if ANSWERS.exists() else {}
    for name in (*PACKED, *QUANTIZED):
        path = FOLDER / f"{name}.elstm"
        if path.exists() and name in known:
            continue
        model = PACKED[name] if name in PACKED else quantized(QUANTIZED[name])
        image = pack(model)
        if not path.exists():
            path.write_bytes(image)
            print(f"{path.name}: {len(image)} bytes")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        runner = Runner(path)
        steps = runner.causal and not runner.uneven
        known[name] = {"image": digest, "answers": reference_answers(name, model), "steps": steps}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(known[name])}" for name in sorted(known))
    ANSWERS.write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
