"""TFLite's eight bits: how real ranges, weights and biases become its integers."""

from __future__ import annotations

import numpy as np

from ..model import Array
from .tflite_graph import Quantization

SIGMOID_OUT = Quantization(np.array([1 / 256], np.float32), -128)
TANH_OUT = Quantization(np.array([1 / 128], np.float32))

_BIAS_LIMIT = 2.0**30
_SMALLEST = 1e-9  # of a scale or range; what is smaller counts as nothing
_WIDEST_STEP = 255  # of a product, in steps of its output; XNNPACK refuses 256


def affine(low: float, high: float, least: float = 0.0) -> Quantization:
    """A tensor's int8 for values of low ... high, 0 among them, its scale not below `least`."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.float32(max((high - low) / 255, least, _SMALLEST))
    return Quantization(np.array([scale]), int(np.clip(np.rint(-128 - low / float(scale)), -128, 127)))


def cell(largest: float) -> Quantization:
    """A cell's int16. The runtimes skip tanh for scales below 2^-15, and know none above 2^-9."""
    exponent = int(np.clip(np.ceil(np.log2(max(largest, _SMALLEST))), 0, 6))
    return Quantization(np.array([2.0 ** (exponent - 15)], np.float32))


def symmetric(matrix: Array, *, by_row: bool = False, least: Array | float = 0.0) -> tuple[Array, Quantization]:
    """Weights [rows, columns] as int8 of -127 ... 127, with one scale or one a row, no scale below `least`."""
    largest = np.abs(matrix).max(axis=1) if by_row else np.abs(matrix).max(keepdims=True)[0]
    scales = np.maximum(largest.astype(np.float64) / 127, least)
    scales = np.where(scales > 0, scales, 1.0).astype(np.float32)
    integers = np.clip(np.rint(matrix / scales.astype(np.float64)[:, None]), -127, 127)
    return integers.astype(np.int8), Quantization(scales)


def least_scale(bias: Array, x: Quantization, *, by_row: bool = False) -> Array:
    """The smallest weight scales with which the bias, in steps of weight scale times input scale, fits 32 bits."""
    largest = np.abs(bias.astype(np.float64))
    return (largest if by_row else largest.max(keepdims=True)) / (_BIAS_LIMIT * float(x.scale))


def least_output_scale(weights: Quantization, x: Quantization) -> float:
    """The smallest scale of a product's output that runtimes accept."""
    return float(weights.scales.max()) * float(x.scale) / _WIDEST_STEP


def bias_integers(bias: Array, weights: Quantization, x: Quantization) -> tuple[Array, Quantization]:
    """A bias in steps of weight scale times input scale, as int32."""
    scales = weights.scales * x.scale
    return np.rint(bias / scales.astype(np.float64)).astype(np.int32), Quantization(scales)
