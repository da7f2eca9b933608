"""What EdgeLSTM is compared with: one module a peer, each imported in that peer's own process alone.

A peer's module has FORMS, the ways in which it can do the work, and `load(folder, form, mode)`, which returns what
`nets.Steps` or `nets.Sequence` describes. Where the files of a form are made by another library than the one that
runs them, `<module>_files.py` makes them, in a process of its own that ends before anything is timed.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """Where a peer's code and its package are found."""

    name: str
    module: str  # in this folder
    files: str | None  # the module that makes what it loads
    package: str | None  # as pip calls it
    imports: str | None  # as Python calls it


PEERS = (
    Peer("EdgeLSTM", "edge", "edge_files", "edgelstm", "edgelstm.runner"),
    Peer("ai-edge-litert", "tflite", "tflite_files", "ai-edge-litert", "ai_edge_litert.interpreter"),
    Peer("tflite-runtime", "tflite", "tflite_files", "tflite-runtime", "tflite_runtime.interpreter"),
    Peer("ONNX Runtime", "onnx_sessions", "onnx_sessions_files", "onnxruntime", "onnxruntime"),
    Peer("ncnn", "ncnn_nets", "ncnn_nets_files", "ncnn", "ncnn"),
    Peer("OpenVINO", "openvino_requests", None, "openvino", "openvino"),
    Peer("PyTorch", "torch_modules", None, "torch", "torch"),
    Peer("NumPy", "numpy_steps", None, "numpy", "numpy"),
)

OURS = "EdgeLSTM"

IN_C = (
    Peer("EdgeLSTM in C", "edge_c", "edge_files", None, None),
    Peer("RTNeural", "rtneural", None, None, None),
    Peer("the limit", "limit", None, None, None),
)
"""What is called in C; the last is no peer but what no step on this machine can be faster than."""


def find(name: str) -> Peer:
    """A peer by its name."""
    return next(peer for peer in (*PEERS, *IN_C) if peer.name == name)
