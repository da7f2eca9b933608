"""TFLite in a process that has TensorFlow loaded, which has a TFLite of its own."""

from __future__ import annotations

import numpy as np
import pytest
from nets import signal, stack

from edgelstm import peers, reference
from edgelstm.exporters import tflite


@pytest.mark.parametrize("runtime", ["tflite-runtime", "ai-edge-litert"])
def test_models_run_beside_tensorflow(runtime):
    pytest.importorskip("tensorflow")
    if runtime not in peers.runtimes():
        pytest.skip(f"{runtime} is not installed")
    model, x = stack(2, (5, 4)), signal((3, 10, 2))
    ys = peers.run_tflite(tflite.build(model, "float", steps=10), [x], runtime).ys
    np.testing.assert_allclose(ys[0], reference.run(model, [x])[0], atol=5e-6)
