"""An int8 TFLite model as the file it could come from, and what runtimes make of that file, byte for byte."""

import importlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache

import numpy as np

from edgelstm import peers
from edgelstm.exporters import tflite
from edgelstm.exporters.tflite_graph import ABSENT, Graph, Quantization
from edgelstm.layers import Last, Pad, Reverse
from edgelstm.tfl8 import (
    Tfl8Combine,
    Tfl8Constant,
    Tfl8Conv1d,
    Tfl8Dense,
    Tfl8Dequantize,
    Tfl8Embedding,
    Tfl8Lstm,
    Tfl8Map,
    Tfl8Pool1d,
    Tfl8Quantize,
    Tfl8Reduce,
    Tfl8Softmax,
    Tfl8Tensor,
)
from edgelstm.tfl8_model import Tfl8Model

TYPES = {"f32": "float32", "s8": "int8", "s16": "int16"}
FUSED_NUMBERS = {"none": 0, "relu": 1, "relu_n1_to_1": 2, "relu6": 3}
MAPS = {"logistic": "LOGISTIC", "tanh": "TANH", "rescale": "QUANTIZE", "leaky_relu": "LEAKY_RELU"}


def one(scale, zero=0):
    return Quantization(np.array([scale], np.float32), zero)


class File:
    """A model of one input as a graph [batch, steps, width], every LSTM's c among its variables."""

    def __init__(self, model, steps, batch=1):
        self.model, self.steps, self.batch = model, steps, batch
        self.graph, self.index, self.cells = Graph(), {}, {}
        for name in model.inputs:
            self.index[name] = self.tensor(name)
        for layer in model.layers:
            self.add(layer)
        self.bytes = self.graph.pack([self.index[n] for n in model.inputs], [self.index[n] for n in model.outputs], "")

    def shape(self, name):
        width = self.model.width(name)
        if name in self.model.timing.single:
            return (self.batch, width)
        rows = self.steps
        for change in self.model.timing.clocks[name]:
            match change:
                case ("windows", reach, stride, left, right, same):
                    rows = -(-rows // stride) if same else (rows + left + right - reach) // stride + 1
                case ("pad", left, right):
                    rows += left + right
        return (self.batch, rows, width)

    def tensor(self, name, shape=None):
        t = self.model.tensor(name)
        affine = one(t.scale, t.zero_point) if t.type != "f32" else None
        kind = "int32" if t.type == "s16" else TYPES[t.type]
        return self.graph.tensor(name, shape or self.shape(name), kind, affine)

    def add(self, layer):
        x, target = self.index[layer.reads[0]], layer.writes[0]
        if isinstance(layer, Tfl8Lstm):
            self.index[target] = self.lstm(layer, x)
            return
        if isinstance(layer, Tfl8Constant):
            t = self.model.tensor(target)
            value = layer.value.astype(TYPES[t.type])
            self.index[target] = self.graph.constant(target, value, one(t.scale, t.zero_point))
            return
        y = self.index[target] = self.tensor(target)
        constant, operator = self.graph.constant, self.graph.operator
        match layer:
            case Tfl8Dense():
                w = constant(f"{layer.name}/w", layer.kernel, Quantization(layer.kernel_scale))
                scale = layer.kernel_scale * np.float32(self.model.tensor(layer.reads[0]).scale)
                b = constant(f"{layer.name}/b", layer.bias, Quantization(scale))
                options = {0: np.int8(FUSED_NUMBERS[layer.activation])}
                # a kernel of tflite-runtime answers the first of several steps alone: steps are rows for it
                flat = (self.batch * self.steps, layer.inputs)
                if len(self.shape(target)) == 3:
                    x, z = self.reshape(x, flat, layer.reads[0]), self.tensor(target, (flat[0], layer.units))
                else:
                    z = y
                operator("FULLY_CONNECTED", 5, [x, w, b], z, options | {2: np.bool_(True)})
                if z != y:
                    shape = constant(f"{layer.name}/shape", np.array(self.shape(target), np.int32))
                    operator("RESHAPE", 1, [z, shape], y, {0: np.array(self.shape(target), np.int32)})
            case Tfl8Softmax():
                operator("SOFTMAX", 2, [x], y, {0: np.float32(layer.beta)})
            case Tfl8Map():
                options = {0: np.float32(layer.alpha)} if layer.function == "leaky_relu" else None
                operator(MAPS.get(layer.function, layer.function.upper()), 2, [x], y, options)
            case Tfl8Quantize():
                operator("QUANTIZE", 1, [x], y)
            case Tfl8Dequantize():
                operator("DEQUANTIZE", 2, [x], y)
            case Tfl8Embedding():
                written = self.model.tensor(target)
                table = constant(f"{layer.name}/table", layer.table, one(written.scale, written.zero_point))
                flat = self.reshape(x, (self.batch, self.steps), layer.reads[0])
                operator("GATHER", 2, [table, flat], y, {0: np.int32(0)})
            case Tfl8Combine(kind="concatenate"):
                reads = [self.index[n] for n in layer.reads]
                operator("CONCATENATION", 2, reads, y, {0: np.int32(len(self.shape(target)) - 1), 1: np.int8(0)})
            case Tfl8Combine():
                reads = [self.index[n] for n in layer.reads]
                options = {0: np.int8(FUSED_NUMBERS[layer.activation])}
                operator({"add": "ADD", "subtract": "SUB", "multiply": "MUL"}[layer.kind], 2, reads, y, options)
            case Tfl8Conv1d():
                self.windows(layer, x, y, *self.convolution(layer))
            case Tfl8Pool1d():
                fused = np.int8(FUSED_NUMBERS[layer.activation])
                options = {3: np.int32(layer.size), 4: np.int32(1), 5: fused}
                self.windows(layer, x, y, f"{layer.kind.upper()}_POOL_2D", [], options)
            case Tfl8Reduce():
                axis = constant(f"{target}/axis", np.array([1], np.int32))
                name = {"mean": "MEAN", "max": "REDUCE_MAX"}[layer.kind]
                operator(name, 2, [x, axis], y, {0: np.bool_(False)})
            case Pad():
                self.pad(layer, x, y)
            case Last():
                ends = [
                    constant(f"{target}/{k}", np.array(v, np.int32))
                    for k, v in enumerate([(0, -1, 0), (0,) * 3, (1,) * 3])
                ]
                options = {k: np.int32(v) for k, v in enumerate((5, 7, 0, 0, 2))}
                operator("STRIDED_SLICE", 2, [x, *ends], y, options)
            case Reverse():
                operator("REVERSE_V2", 3, [x, constant(f"{target}/axis", np.array([1], np.int32))], y)
            case _:
                raise AssertionError(f"no operator for {layer}")

    def pad(self, layer, x, y):
        ends = np.array([(0, 0), (layer.left, layer.right), (0, 0)], np.int32)
        return self.graph.operator("PAD", 2, [x, self.graph.constant(f"{layer.name}/ends", ends)], y)

    def convolution(self, layer):
        """The operator, its constants and its options."""
        units, taps, columns = layer.kernel.shape
        shape = (1, 1, taps, units) if layer.depthwise else (units, 1, taps, columns)
        w = layer.kernel[:, :, 0].T if layer.depthwise else layer.kernel
        scales = Quantization(layer.kernel_scale, axis=3 if layer.depthwise else 0)
        bias = Quantization(layer.kernel_scale * np.float32(self.model.tensor(layer.reads[0]).scale))
        constants = [
            self.graph.constant(f"{layer.name}/w", np.ascontiguousarray(w).reshape(shape), scales),
            self.graph.constant(f"{layer.name}/b", layer.bias, bias),
        ]
        options = [np.int8(FUSED_NUMBERS[layer.activation]), np.int32(layer.dilation), np.int32(1)]
        if layer.depthwise:
            return "DEPTHWISE_CONV_2D", constants, {3: np.int32(units // layer.groups), **dict(enumerate(options, 4))}
        return "CONV_2D", constants, dict(enumerate(options, 3))

    def windows(self, layer, x, y, name, constants, options):
        """An operator over images of one row."""
        rows = self.shape(layer.reads[0])[1]
        if layer.left or layer.right:
            rows += layer.left + layer.right
            x = self.pad(layer, x, self.tensor(layer.reads[0], (self.batch, rows, self.shape(layer.reads[0])[2])))
        image = self.reshape(x, (self.batch, 1, rows, self.shape(layer.reads[0])[2]), layer.reads[0])
        made = self.tensor(layer.writes[0], (self.batch, 1, *self.shape(layer.writes[0])[1:]))
        options = {0: np.int8(0 if layer.same else 1), 1: np.int32(layer.stride), 2: np.int32(1)} | options
        self.graph.operator(name, 3, [image, *constants], made, options)
        shape = np.array(self.shape(layer.writes[0]), np.int32)
        constant = self.graph.constant(f"{layer.name}/shape", shape)
        self.graph.operator("RESHAPE", 1, [made, constant], y, {0: shape})

    def reshape(self, x, shape, name):
        y = self.tensor(name, shape)
        array = np.array(shape, np.int32)
        return self.graph.operator("RESHAPE", 1, [x, self.graph.constant(f"{name}/{y}", array)], y, {0: array})

    def lstm(self, layer, x):
        graph, model = self.graph, self.model
        read = np.float32(model.tensor(layer.reads[0]).scale)

        def gates(name, values, scales):
            parts = [graph.constant(f"{layer.name}/{name}{k}", values[k], one(scales[k])) for k in range(4)]
            return [ABSENT, *parts[1:]] if layer.coupled else parts

        shape = (self.batch, layer.units)
        h = graph.variable(f"{layer.name}/h", shape, "int8", one(layer.state_scale, layer.state_zero))
        c = graph.variable(f"{layer.name}/c", shape, "int16", one(2.0**layer.cell_exponent))
        self.cells[f"{layer.name}.c"] = c
        inputs = [
            x, *gates("w", layer.kernel, layer.kernel_scale), *gates("r", layer.recurrent, layer.recurrent_scale),
            *[ABSENT] * 3, *gates("b", layer.bias, layer.kernel_scale * read), ABSENT, ABSENT, h, c, *[ABSENT] * 4,
        ]  # fmt: skip
        inner = [graph.tensor(f"{layer.name}/none{k}", (0,), "float32") for k in range(4)]
        inner.append(graph.tensor(f"{layer.name}/hidden", (0,), "int8", one(layer.hidden_scale, layer.hidden_zero)))
        y = self.tensor(layer.writes[0])
        options = {0: np.int8(4), 1: np.float32(layer.cell_clip), 2: np.float32(0), 3: np.bool_(False)}
        return graph.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", 1, inputs, y, options, inner)


def exported(model, samples, steps):
    """A float model as the exporter writes it in int8: the file's bytes, the int8 model in it, and its LSTMs' c."""
    made = tflite.assembled(tflite.planned(model, "int8", steps), samples)
    data = made.pack()
    graph, names = made.assembly.sheet.graph, {}
    tensors, layers, cells = [], [], {}

    def affine(index):
        q = graph.tensors[index].quantization
        return {"scale": float(q.scale), "zero_point": q.zero} if q is not None else {}

    def tensor(index):
        t = graph.tensors[index]
        kind = {"float32": "f32", "int8": "s8"}[t.type]
        tensors.append(Tfl8Tensor(str(index), t.shape[-1], kind, **affine(index)))
        names[index] = str(index)
        return (str(index),)

    def data_of(index):
        return graph.tensors[index].data

    def scales_of(indices):
        return np.array([graph.tensors[k].quantization.scale for k in indices])

    for name in model.inputs:
        tensor(next(k for k, t in enumerate(graph.tensors) if t.name == name))
    inputs = tuple(names.values())
    for k, row in enumerate(graph.operators):
        x, y = row.inputs[0], row.outputs[0]
        if row.name == "RESHAPE":  # the steps as rows, and back
            names[y] = names[x]
            continue
        reads, writes, name = (names[x],), tensor(y), f"{k}"
        match row.name:
            case "QUANTIZE":
                layers.append(Tfl8Quantize(name, reads, writes))
            case "DEQUANTIZE":
                layers.append(Tfl8Dequantize(name, reads, writes))
            case "STRIDED_SLICE":
                layers.append(Last(name, reads, writes))
            case "SOFTMAX":
                layers.append(Tfl8Softmax(name, reads, writes))
            case "LOGISTIC" | "TANH":
                layers.append(Tfl8Map(name, reads, writes, row.name.lower()))
            case "FULLY_CONNECTED":
                _, w, b = row.inputs
                fused = {number: what for what, number in FUSED_NUMBERS.items()}[int(row.options[0])]
                scale = graph.tensors[w].quantization.scales
                layers.append(Tfl8Dense(name, reads, writes, data_of(w), data_of(b), scale, fused))
            case "UNIDIRECTIONAL_SEQUENCE_LSTM":
                w, r, b = row.inputs[1:5], row.inputs[5:9], row.inputs[12:16]
                h, c, hidden = row.inputs[18], row.inputs[19], row.intermediates[4]
                cells[f"{name}.c"] = c
                layers.append(
                    Tfl8Lstm(
                        name, reads, writes,
                        *(np.stack([data_of(k) for k in gates]) for gates in (w, r, b)), scales_of(w), scales_of(r),
                        *affine(h).values(), *affine(hidden).values(), round(np.log2(affine(c)["scale"])),
                        float(row.options[1]),
                    )
                )  # fmt: skip
            case _:
                raise AssertionError(row.name)
    outputs = tuple(writes for layer in layers if isinstance(layer, Tfl8Dequantize) for writes in layer.writes)
    return data, Tfl8Model(tuple(tensors), tuple(layers), inputs, outputs), cells


@cache
def _process(of):
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def answers(*args):
    """`answers_here` in another process: TensorFlow, if it is loaded in this one, has a TFLite of its own."""
    return _process("tflite").submit(answers_here, *args).result()


def raw_answers(*args):
    """`raw_answers_here` in another process."""
    return _process("tflite").submit(raw_answers_here, *args).result()


def raw_answers_here(data, calls, runtime, resolver="default"):
    """The shapes of a file's inputs, and of each call, one array per input, the outputs as they lie; None for the calls
    where an input has another number of values. Each call starts from reset variables."""
    module = importlib.import_module(f"{peers.RUNTIMES[runtime]}.interpreter")
    kind = getattr(module.OpResolverType, peers.RESOLVERS[resolver])
    interpreter = module.Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    rows, found = interpreter.get_input_details(), []
    shapes = [tuple(int(n) for n in row["shape"]) for row in rows]
    if any(np.prod(shape) != x.size for xs in calls for shape, x in zip(shapes, xs, strict=True)):
        return shapes, None
    for xs in calls:
        interpreter.reset_all_variables()
        for row, x in zip(rows, xs, strict=True):
            interpreter.set_tensor(row["index"], x.reshape(row["shape"]).astype(row["dtype"]))
        interpreter.invoke()
        found.append([interpreter.get_tensor(row["index"]) for row in interpreter.get_output_details()])
    return shapes, found


def micro_answers(*args):
    """`micro_answers_here` in another process."""
    return _process("micro").submit(micro_answers_here, *args).result()


def micro_answers_here(model, xs):
    """The first output of whole sequences, as TFLite Micro's interpreter gives it."""
    runtime = importlib.import_module("tflite_micro").runtime
    file, ys = File(model, xs[0].shape[1]).bytes, []
    for k in range(len(xs[0])):
        interpreter = runtime.Interpreter.from_bytes(file, arena_size=1 << 21)
        for number, x in enumerate(xs):
            interpreter.set_input(x[k : k + 1], number)
        interpreter.invoke()
        ys.append(interpreter.get_output(0))
    return np.concatenate(ys)


def micro_outputs(*args):
    """`micro_outputs_here` in another process."""
    return _process("micro").submit(micro_outputs_here, *args).result()


def micro_outputs_here(file, xs, outputs, calls):
    """Every output of a sequence as TFLite Micro gives it, in so many calls; xs: an array per input, [1, T, width]."""
    runtime = importlib.import_module("tflite_micro").runtime
    interpreter = runtime.Interpreter.from_bytes(file, arena_size=1 << 20)
    every = []
    for t in range(calls):
        for k, x in enumerate(xs):
            part = x if calls == 1 else x[:, t : t + 1]
            interpreter.set_input(part.astype(interpreter.get_input_details(k)["dtype"]), k)
        interpreter.invoke()
        every.append([interpreter.get_output(k) for k in range(outputs)])
    return [ys[-1] if ys[0].ndim < 3 else np.concatenate(ys, axis=1) for ys in zip(*every, strict=True)]


def answers_here(model, xs, runtime, resolver="default", file=None):
    """Every output of whole sequences, [N, T, width] or [N, width], and by name the last c of every LSTM [N, units].
    file: the bytes of the model's file, and where the c of its LSTMs stand; None writes one."""
    module = importlib.import_module(f"{peers.RUNTIMES[runtime]}.interpreter")
    if file is None:
        made = File(model, xs[0].shape[1])
        file = made.bytes, made.cells
    kind = getattr(module.OpResolverType, peers.RESOLVERS[resolver])
    interpreter = module.Interpreter(
        model_content=file[0], num_threads=1, experimental_op_resolver_type=kind,
    )  # fmt: skip
    interpreter.allocate_tensors()
    ys, cells = [], {name: [] for name in file[1]}
    for k in range(len(xs[0])):
        interpreter.reset_all_variables()
        for row, x in zip(interpreter.get_input_details(), xs, strict=True):
            interpreter.set_tensor(row["index"], x[k : k + 1].astype(row["dtype"]))
        interpreter.invoke()
        ys.append([interpreter.get_tensor(row["index"]) for row in interpreter.get_output_details()])
        for name, index in file[1].items():
            cells[name].append(interpreter.get_tensor(index))
    return tuple(map(np.concatenate, zip(*ys, strict=True))), {name: np.concatenate(c) for name, c in cells.items()}
