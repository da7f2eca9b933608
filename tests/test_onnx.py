"""ONNX files: onnx's own tests of the recurrent operations, the graphs around them, and what is refused and how."""

from __future__ import annotations

import warnings

import numpy as np
import onnx_models
import pytest
from onnx import helper

from edgelstm import reference
from edgelstm.errors import CheckpointError
from edgelstm.importers import onnx as importer
from edgelstm.importers import onnx_feeds
from edgelstm.model import Model

LIMIT = 5e-6
node = helper.make_node

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a module of node tests makes its tests where it is imported
    from onnx.backend.test.case.node import _NodeTestCases, gru, lstm, rnn

NODE_TESTS = {case.name: case for case in _NodeTestCases if case.model.graph.node[0].op_type in ("LSTM", "GRU", "RNN")}
assert {gru, lstm, rnn}


def read(data: bytes) -> Model:
    return importer.reading(data, "graph.onnx").model


def refused(data: bytes, *words: str) -> str:
    with pytest.raises(CheckpointError) as caught:
        read(data)
    said = str(caught.value)
    assert "\n" not in said and said.isprintable() and len(said) < 400, said
    for word in words:
        assert word in said, said
    return said


def kinds(model: Model) -> list[str]:
    return [type(layer).__name__ for layer in model.layers]


# ---- onnx's own tests ----


def test_all_of_onnx_own_tests_of_recurrent_operations_are_here() -> None:
    assert len(NODE_TESTS) >= 18
    assert {"test_lstm_with_peepholes", "test_gru_seq_length", "test_simple_rnn_batchwise"} <= set(NODE_TESTS)


@pytest.mark.parametrize("name", sorted(NODE_TESTS))
def test_onnx_own_test(name: str) -> None:
    """Their weights are inputs of the graph; here they are constants of it, as in every file that holds a model."""
    case = NODE_TESTS[name]
    (values, expected) = case.data_sets[0]
    arrays = dict(zip([port.name for port in case.model.graph.input], map(np.asarray, values), strict=True))
    x = arrays.pop("X")
    made = importer.reading(onnx_models.bound(case.model, arrays), name)
    batch_first = bool(made.model.layers) and "batchwise" in name
    xs = [x if batch_first else x.transpose(1, 0, 2)]
    ys = reference.run(made.model, xs)
    names = [port.name for port in case.model.graph.output]
    wanted = onnx_feeds.taken(made, dict(zip(names, map(np.asarray, expected), strict=True)), len(xs[0]))
    assert len(ys) == len(wanted) == len(expected)
    for y, z in zip(ys, wanted, strict=True):
        assert y.shape == z.shape and np.abs(y - z).max() <= LIMIT * max(1.0, np.abs(z).max())
