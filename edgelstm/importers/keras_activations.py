"""Keras' layers that are an activation, and serialized so may also stand as another layer's activation."""

from __future__ import annotations

from collections.abc import Callable

from ..layers import LARGEST, Activation
from .keras_config import Settings


def relu(settings: Settings) -> Activation:
    """ReLU: min(x, max_value) above the threshold, negative_slope (x - threshold) elsewhere."""
    top, slope = settings.number("max_value", None), settings.number("negative_slope", 0.0) or 0.0
    threshold = settings.number("threshold", 0.0) or 0.0
    if threshold < 0:
        raise settings.refuse("threshold", threshold, "expected a number from 0 on, as Keras does")
    if top is not None and top < 0:
        raise settings.refuse("max_value", top, "expected a number from 0 on, as Keras does")
    if threshold:
        return Activation("rectify", threshold, slope, LARGEST if top is None else top)
    if top is None:
        return Activation("leaky_relu", slope) if slope else Activation("relu")
    if slope:
        return Activation("rectify", 0.0, slope, top)
    return Activation("relu6") if top == 6.0 else Activation("clip", 0.0, top)


def thresholded_relu(settings: Settings) -> Activation:
    """ThresholdedReLU of Keras 1 and 2: x above theta, 0 elsewhere."""
    theta = settings.number("theta", 1.0)
    if theta is None:
        raise settings.refuse("theta", theta, "expected a number")
    return Activation("threshold", theta)


def leaky_relu(settings: Settings) -> Activation:
    """LeakyReLU; the slope is `alpha` up to Keras 2, `negative_slope` in Keras 3."""
    key = "alpha" if "alpha" in settings.values else "negative_slope"
    slope = settings.number(key, 0.3)
    if slope is None:
        raise settings.refuse(key, slope, "expected a number")
    return Activation("leaky_relu", slope)


def elu(settings: Settings) -> Activation:
    alpha = settings.number("alpha", 1.0)
    if alpha is None:
        raise settings.refuse("alpha", alpha, "expected a number")
    return Activation("elu", alpha)


def softmax(settings: Settings) -> Activation:
    """Softmax over the values of a step; as a layer of its own it may run over the steps (keras_steps)."""
    axis = settings.take("axis", -1)
    if axis not in (-1, [-1]) or isinstance(axis, bool):
        raise settings.refuse("axis", axis, "only -1, over the values of a step, is supported")
    return Activation("softmax")


LAYERS: dict[str, Callable[[Settings], Activation]] = {
    "ReLU": relu,
    "LeakyReLU": leaky_relu,
    "ELU": elu,
    "ThresholdedReLU": thresholded_relu,
    "Softmax": softmax,
}
