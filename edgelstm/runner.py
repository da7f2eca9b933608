"""Runner: friendly arrays around the C core."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from . import _core
from .description import Description, describe
from .errors import ImageError, InputError
from .meta import Array, Meta

if TYPE_CHECKING:
    from .model import Model, QuantizedModel

Source: TypeAlias = "str | os.PathLike[str] | bytes | bytearray | memoryview | Model | QuantizedModel"
"""What a Runner runs."""


class Runner(_core.Core):
    """Runs an image, step by step or over whole sequences. Belongs to one thread at a time.

    model: an image's path or bytes, or a Model or QuantizedModel to pack. kernels: a name of `kernels()`; None takes
    EDGELSTM_KERNELS from the environment, else the best. streams: independent states that step together. max_steps:
    steps worked on at once in `run`, which costs arena, not correctness. Starts from a reset state.
    """

    image: bytes
    description: Description

    def __new__(cls, model: Source, kernels: str | None = None, *, streams: int = 1, max_steps: int = 64) -> Runner:
        limits = _whole("streams", streams), _whole("max_steps", max_steps)
        if kernels is None or kernels == "":
            kernels = os.environ.get("EDGELSTM_KERNELS") or None
        image = read_image(model)
        try:
            self = super().__new__(cls, image, kernels, *limits)
            self.description = describe(image)
        except ImageError as error:
            if isinstance(model, str | os.PathLike):
                raise ImageError(f"{os.fspath(model)}: {error}") from None
            raise
        self.image = image
        return self

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass  # all is set up in __new__, which opens the image

    @property
    def meta(self) -> Meta:
        """Scalers, channel names, units, labels, window and hop."""
        return self.description.meta

    @property
    def input_widths(self) -> tuple[int, ...]:
        """Values a step of each input."""
        return tuple(x.shape[1] for x in self.xs)

    @property
    def output_widths(self) -> tuple[int, ...]:
        """Values a step of each output."""
        return tuple(y.shape[1] for y in self.ys)

    def run(self, xs: Any, every_step: bool = False, carry: bool = False) -> Any:  # type: ignore[override]
        """Run whole sequences and return what the checkpoint's framework returns.

        xs: (T, inputs) or (N, T, inputs), a tuple of such for several inputs. Every sequence starts from a reset
        state, or with `carry` continues from the present one (then N must be `streams`). Returns (rows, outputs) or
        (N, rows, outputs); where the model keeps the last step alone the rows' axis is gone, unless `every_step` asks
        for all: then the answers equal calling `step` so many times. A tuple for several outputs. The GIL is free
        meanwhile; Ctrl-C ends a run early unless its answer is that of the last step alone. InputError for NaN,
        infinity and wrong shapes.
        """
        return self._run(xs, every_step, carry, integers=False)

    def run_integers(self, xs: Any, every_step: bool = False, carry: bool = False) -> Any:
        """`run` at the integer door of an s8 image: int16 arrays in and out; see `input_scales`, `output_scales`."""
        if not self.integer:
            raise InputError("this image is f32; run_integers is for s8 images")
        return self._run(xs, every_step, carry, integers=True)

    def _run(self, xs: Any, every_step: bool, carry: bool, integers: bool) -> Any:
        if type(xs) is np.ndarray and not integers and self._lies_ready(xs):
            return self._run_ready(xs, every_step, carry)
        arrays, batched = self._inputs(xs, integers)
        count, steps = arrays[0].shape[:2]
        if carry and count != self.streams:
            raise InputError(f"{count} sequences cannot carry the state of {self.streams} streams")
        dtype = np.int16 if integers else np.float32
        streams, batches = self.streams, -(-count // self.streams)
        rows = [self.output_rows(k, steps, every_step) for k in range(len(self.ys))]
        ys = [np.empty((batches, n, streams, w), dtype) for n, w in zip(rows, self.output_widths, strict=True)]
        # one call for all: no other thread comes between the sequences
        laid = [_lay_out(x, streams) for x in arrays]
        super().run(laid, ys, steps, every_step, integers, batches, fresh=not carry)
        shaped = []
        for k, y in enumerate(ys):
            y = y.transpose(0, 2, 1, 3).reshape(batches * streams, rows[k], -1)[:count]
            single = self.description.tensors[self.description.outputs[k]].single and not every_step
            y = y[:, -1] if single else y
            shaped.append(y if batched else y[0])
        return shaped[0] if len(shaped) == 1 else tuple(shaped)

    def _lies_ready(self, x: Array) -> bool:
        """Whether x is one sequence for a runner of one stream, input and output, as C wants it."""
        return (
            x.ndim == 2
            and x.dtype == np.float32
            and x.flags.c_contiguous
            and x.flags.aligned
            and self.streams == len(self.xs) == len(self.ys) == 1
            and x.shape[1] == self.x.shape[0]
            and x.shape[0] > 0
            and _core.is_finite(x)
        )

    def _run_ready(self, x: Array, every_step: bool, carry: bool) -> Array:
        """`_run` without the detours, which take longer than 128 steps of a small model."""
        steps = len(x)
        y = np.empty((self.output_rows(0, steps, every_step), self.y.shape[0]), np.float32)
        super().run([x], [y], steps, every_step, False, 1, fresh=not carry)
        single = self.description.tensors[self.description.outputs[0]].single and not every_step
        return y[-1] if single else y

    def _inputs(self, xs: Any, integers: bool) -> tuple[list[Array], bool]:
        try:
            given: Sequence[Any] = (xs,) if len(self.xs) == 1 and not isinstance(xs, tuple) else tuple(xs)
        except TypeError:
            raise InputError(f"expected a tuple with the array of each input, not {type(xs).__name__}") from None
        if len(given) != len(self.xs):
            raise InputError(f"{len(given)} inputs given, the model has {len(self.xs)}")
        arrays = []
        for k, (x, width) in enumerate(zip(given, self.input_widths, strict=True)):
            try:
                array = np.asarray(x)
            except ValueError as error:
                raise InputError(f"input {k} is not an array: {error}") from None
            if array.dtype.kind not in "fiub":
                raise InputError(f"input {k} holds {array.dtype} values, expected numbers")
            if array.ndim not in (2, 3) or array.shape[-1] != width or 0 in array.shape:
                raise InputError(f"input {k} has shape {array.shape}, expected (T, {width}) or (N, T, {width})")
            if integers and array.dtype != np.int16:
                raise InputError(f"input {k} is {array.dtype}, expected int16")
            if not integers:
                with np.errstate(over="ignore"):  # what overflows is refused below
                    array = array.astype(np.float32, copy=False)
                if not np.isfinite(array).all():
                    raise InputError(f"input {k} holds NaN or infinite values")
            arrays.append(array)
        if any(a.shape[:-1] != arrays[0].shape[:-1] for a in arrays):
            raise InputError("the inputs disagree in their number of sequences or steps")
        batched = arrays[0].ndim == 3
        return [a if batched else a[None] for a in arrays], batched


def _whole(name: str, value: Any) -> int:
    try:
        whole = 0 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        whole = 0
    if not 1 <= whole < 2**31:
        raise InputError(f"{name} is {value!r}, expected a whole number of at least 1")
    return whole


def _lay_out(x: Array, streams: int) -> Array:
    """Sequences [N, T, width] as batches [batches, T, streams, width]; the last one may leave some streams idle."""
    count, steps, width = x.shape
    if streams == 1:
        return np.require(x, requirements=("C", "A"))  # it lies so already
    full, rest = divmod(count, streams)
    laid: Array = np.zeros((full + (rest > 0), steps, streams, width), x.dtype)
    laid[:full] = x[: full * streams].reshape(full, streams, steps, width).transpose(0, 2, 1, 3)
    if rest:
        laid[full, :, :rest] = x[full * streams :].transpose(1, 0, 2)
    return laid


def kernels() -> list[str]:
    """Names of the kernel sets this machine can run, best first."""
    return _core.kernels()


def read_image(model: Source) -> bytes:
    """The bytes of an image: as given, from a file, or packed from a model."""
    if isinstance(model, bytes | bytearray | memoryview):
        return bytes(model)
    if isinstance(model, str | os.PathLike):
        try:
            return Path(model).read_bytes()
        except (OSError, TypeError, ValueError) as error:
            raise ImageError(f"cannot read image {model!r}: {error}") from None
    # who only runs images never loads what packs them
    from .image import pack
    from .model import Model, QuantizedModel

    if not isinstance(model, Model | QuantizedModel):
        raise ImageError(f"expected an image's path or bytes, or a model, not {type(model).__name__}")
    return pack(model)
