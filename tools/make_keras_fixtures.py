"""Writes the files of tests/golden/keras with one real Keras at a time: small models, inputs, Keras' own answers.

    python tools/make_keras_fixtures.py FLAVOUR tests/golden/keras stack relu sequence outputs siamese
    python tools/make_keras_fixtures.py FLAVOUR tests/golden/keras_layers CASE ...

Run in an environment of its own for each FLAVOUR (the script runs on Python 3.6 and later):

    keras1    Python 3.6    keras==1.2.2 theano==1.0.4 numpy==1.16.4 h5py==2.9.0 scipy==1.2.3 pyyaml==5.1
    keras22   Python 3.6    keras==2.2.4 theano==1.0.4 numpy==1.16.4 h5py==2.9.0 scipy==1.2.3 pyyaml==5.1
    keras23   Python 3.6    keras==2.3.1 tensorflow==1.15.0 numpy==1.16.4 h5py==2.9.0 scipy==1.2.3 protobuf==3.19.6
    tf115     Python 3.6    as keras23 (its tf.keras)
    tf212     Python 3.10   tensorflow-cpu==2.12.1 h5py==3.8.0
    tfkeras   Python 3.11   tensorflow-cpu==2.21.0 tf_keras==2.21.0 h5py==3.14.0
    keras30   Python 3.11   keras==3.0.5 tensorflow-cpu==2.21.0 h5py==3.14.0
    keras33   Python 3.11   keras==3.3.3 tensorflow-cpu==2.21.0 h5py==3.14.0
    keras36   Python 3.11   keras==3.6.0 tensorflow-cpu==2.21.0 h5py==3.14.0
    keras315  Python 3.11   keras==3.15.1 tensorflow-cpu==2.21.0 h5py==3.14.0

Each case writes <flavour>_<case>.<suffix> and <flavour>_<case>.npz with x0, x1, ... and y0, y1, ...
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("THEANO_FLAGS", "device=cpu,floatX=float32")

import numpy as np

STEPS, COUNT = 6, 3


def load(flavour):
    """The Keras of a flavour."""
    if flavour in ("keras1", "keras22"):
        os.environ["KERAS_BACKEND"] = "theano"
    if flavour in ("tf115", "tf212"):
        import tensorflow

        return tensorflow.keras
    if flavour == "tfkeras":
        import tf_keras

        return tf_keras
    import keras
    import keras.layers
    import keras.models

    return keras


def sequential(keras, layers):
    model = keras.models.Sequential()
    for layer in layers:
        model.add(layer)
    return model


def cases(keras, flavour):
    """(case, model) pairs; every model is new."""
    k = keras.layers
    one = flavour == "keras1"
    three = flavour.startswith("keras3")

    def lstm(units, activation="tanh", gate="sigmoid", bias=True, **more):
        if one:
            return k.LSTM(units, activation=activation, inner_activation=gate, **more)
        return k.LSTM(units, activation=activation, recurrent_activation=gate, use_bias=bias, **more)

    def start(*values):
        return [k.Input(values)] if three else []

    def first(*values):
        return {} if three else {"input_shape": values}

    stack = sequential(
        keras,
        start(STEPS, 2)
        + [
            lstm(4, gate="hard_sigmoid", return_sequences=True, **first(STEPS, 2)),
            k.Dropout(0.2),
            lstm(3),
            k.Dense(3),
            k.Activation("softmax"),
        ],
    )
    stack.compile(loss="mse", optimizer="adam")
    stack.train_on_batch(np.zeros((2, STEPS, 2), np.float32), np.zeros((2, 3), np.float32))
    yield "stack", stack

    yield (
        "relu",
        sequential(keras, start(None, 3) + [lstm(3, activation="relu", bias=False, **first(None, 3)), k.Dense(1)]),
    )
    yield (
        "sequence",
        sequential(
            keras,
            start(None, 1)
            + [
                lstm(3, gate="hard_sigmoid", return_sequences=True, **first(None, 1)),
                k.TimeDistributed(k.Dense(2, activation="softplus")),
                k.TimeDistributed(k.Activation("tanh")),
            ],
        ),
    )

    x = k.Input(shape=(STEPS, 2), name="sensor")
    h = lstm(4, return_sequences=True)(x)
    last = lstm(3, activation="softsign")(h)
    label = k.Dense(3, activation="softmax", name="label")(k.Dropout(0.5)(last))
    value = k.LeakyReLU()(k.Dense(1, name="value")(last))
    every = k.ELU(0.5)(k.Dense(2, name="every")(h))
    if one:
        yield "outputs", keras.models.Model(input=x, output=[label, value, every])
    else:
        yield "outputs", keras.models.Model(inputs=x, outputs=[label, value, every])

    if one:
        yield from others(keras, flavour)
        return
    inside = k.Input(shape=(STEPS, 2))
    deep = sequential(keras, start(STEPS, 4) + [lstm(3, **first(STEPS, 4)), k.Dense(2, activation="tanh")])
    encoder = keras.models.Model(inside, deep(lstm(4, return_sequences=True)(inside)))
    a, b = k.Input(shape=(STEPS, 2)), k.Input(shape=(STEPS, 2))
    head = k.Dense(2, activation="sigmoid")
    yield "siamese", keras.models.Model(inputs=[a, b], outputs=[head(encoder(a)), encoder(b)])
    yield from others(keras, flavour)


def others(keras, flavour):
    """Other cells, wrappers, masks and what stands around them."""
    k = keras.layers
    one, three = flavour == "keras1", flavour.startswith("keras3")
    gate = "inner_activation" if one else "recurrent_activation"
    every = {"return_sequences": True}

    def start(*values):
        return [k.Input(values)] if three else []

    def first(*values):
        return {} if three else {"input_shape": values}

    def row(shape, make, *layers):
        """A row of layers, of which the first declares the shape where that is the way."""
        return sequential(keras, start(*shape) + [make(**first(*shape)), *layers])

    yield (
        "cells",
        row(
            (STEPS, 2),
            lambda **more: k.GRU(4, activation="softsign", return_sequences=True, **{gate: "hard_sigmoid"}, **more),
            k.Bidirectional(k.SimpleRNN(3, **every), merge_mode="sum"),
            k.Bidirectional(k.LSTM(3, **every), merge_mode="mul"),
            k.Bidirectional(k.GRU(2, **every), merge_mode="ave"),
            k.GRU(3, go_backwards=True, **every),
            k.Bidirectional(k.LSTM(2)),
            k.Dense(2),
        ),
    )
    yield (
        "masked",
        row(
            (STEPS, 2),
            lambda **more: k.Masking(0.0, **more),
            k.GRU(4, **every),
            k.TimeDistributed(k.Dense(3, activation="tanh")),
            k.Bidirectional(k.SimpleRNN(3, **every)),
            k.LSTM(3),
        ),
    )
    yield (
        "words",
        sequential(
            keras,
            start(STEPS)
            + [
                k.Embedding(7, 3, mask_zero=True, **({} if three else {"input_length": STEPS})),
                k.LSTM(3, **every),
                k.SimpleRNN(2, activation="relu"),
                k.Dense(2),
            ],
        ),
    )
    convolution = {"nb_filter": 4, "filter_length": 3} if one else {"filters": 4, "kernel_size": 3}
    causal = {"nb_filter": 3, "filter_length": 2} if one else {"filters": 3, "kernel_size": 2}
    padding, stride = ("border_mode", "subsample_length") if one else ("padding", "strides")
    pool = {"pool_length": 2} if one else {"pool_size": 2}
    yield (
        "around",
        row(
            (8, 2),
            lambda **more: (
                k.Conv1D(**convolution, **{padding: "same"}, activation="relu", **more)
                if not one
                else k.Convolution1D(**convolution, **{padding: "same"}, activation="relu", **more)
            ),
            k.BatchNormalization(),
            k.ZeroPadding1D(1),
            (k.Convolution1D if one else k.Conv1D)(**causal, **{stride: 2}),
            k.MaxPooling1D(**pool),
            k.LSTM(3, **every),
            k.Flatten(),
            k.Dense(6),
            k.Reshape((3, 2)),
            k.Permute((2, 1)),
            k.GlobalAveragePooling1D(),
            k.RepeatVector(2),
            k.GRU(3),
        ),
    )
    x = k.Input(shape=(STEPS, 2))
    a, b = k.LSTM(3, **every)(x), k.GRU(3, **every)(x)
    if one:
        joined = [k.merge([a, b], mode=mode) for mode in ("sum", "mul", "ave", "max", "concat")]
        yield "joined", keras.models.Model(input=x, output=joined)
        for mode in ("gpu", "mem"):
            yield (
                mode,
                sequential(
                    keras,
                    [k.GRU(3, consume_less=mode, input_shape=(STEPS, 2), **every), k.LSTM(2, consume_less=mode)],
                ),
            )
        return
    kinds = (k.Add, k.Multiply, k.Average, k.Maximum, k.Concatenate, k.Subtract)
    yield "joined", keras.models.Model(inputs=x, outputs=[kind()([a, b]) for kind in kinds])
    states = k.LSTM(3, return_state=True)(x)
    h, c = k.Input(shape=(4,)), k.Input(shape=(4,))
    cells = k.RNN([k.LSTMCell(4), k.GRUCell(3)])(x)
    later = k.GRU(3, **({"reset_after": True} if flavour == "keras22" else {}))(x, initial_state=states[1])
    yield (
        "states",
        keras.models.Model(
            inputs=[x, h, c], outputs=[states[0], states[2], cells, later, k.LSTM(4)(x, initial_state=[h, c])]
        ),
    )


def randomise(model, seed):
    random = np.random.RandomState(seed)
    values = [random.uniform(-1.2, 1.2, w.shape).astype(np.float32) for w in model.get_weights()]
    for place, weight in enumerate(model.weights):
        if "variance" in getattr(weight, "path", weight.name) or "running_std" in weight.name:
            values[place] = np.abs(values[place]) + 0.3
    model.set_weights(values)


def answers(model, seed):
    """Inputs and Keras' answers, by the names they have in the .npz."""
    random = np.random.RandomState(seed)
    shapes = model.input_shape if isinstance(model.input_shape, list) else [model.input_shape]
    words = any(type(layer).__name__ == "Embedding" for layer in model.layers)
    xs = []
    for shape in shapes:
        x = random.uniform(-2, 2, (COUNT, *[STEPS if n is None else n for n in shape[1:]])).astype(np.float32)
        xs.append(random.randint(0, 7, x.shape).astype(np.float32) if words else x)
    if any(type(layer).__name__ == "Masking" for layer in model.layers):
        xs[0][0, -2:], xs[0][1, :2], xs[0][2, 1] = 0, 0, 0
    ys = model.predict(xs if len(xs) > 1 else xs[0], verbose=0)
    ys = ys if isinstance(ys, (list, tuple)) else [ys]
    named = {f"x{n}": x for n, x in enumerate(xs)}
    named.update({f"y{n}": y for n, y in enumerate(ys)})
    return named


def varied(model, seed):
    """Gives the model random weights with which its answers differ (relu cells may die); inputs and answers."""
    for attempt in range(20):
        randomise(model, seed + 10 * attempt)
        given = answers(model, 100 + seed)
        if all(np.ptp(y, axis=0).max() > 0.01 for name, y in given.items() if name[0] == "y"):
            return given
    raise RuntimeError("constant answers prove nothing")


def weights_only(model, stem, suffix):
    model.save_weights(stem + suffix)
    with open(stem + ".json", "w") as file:
        file.write(model.to_json())


def cudnn(keras, folder):
    """CuDNNLSTM runs on a GPU only; Keras' own conversion on loading into an LSTM gives the answers."""
    k = keras.layers
    stem = os.path.join(folder, "keras23_cudnn")
    fast = sequential(keras, [k.CuDNNLSTM(3, return_sequences=True, input_shape=(STEPS, 2)), k.CuDNNLSTM(2)])
    random = np.random.RandomState(7)
    values = {w.name: random.uniform(-0.8, 0.8, keras.backend.int_shape(w)).astype(np.float32) for w in fast.weights}
    # Reading a variable would run the GPU's operations too: hand the writer its values instead.
    keras.engine.saving.K.batch_get_value = lambda weights: [values[w.name] for w in weights]
    fast.save(stem + ".h5")
    keras.backend.clear_session()
    plain = sequential(
        keras,
        [
            k.LSTM(3, recurrent_activation="sigmoid", return_sequences=True, input_shape=(STEPS, 2)),
            k.LSTM(2, recurrent_activation="sigmoid"),
        ],
    )
    plain.load_weights(stem + ".h5")
    np.savez(stem + ".npz", **answers(plain, 8))


def main():
    flavour, folder, wanted = sys.argv[1], sys.argv[2], sys.argv[3:]
    keras = load(flavour)
    print(flavour, keras.__version__)
    for seed, (case, model) in enumerate(cases(keras, flavour)):
        if wanted and case not in wanted:
            continue
        stem = os.path.join(folder, flavour + "_" + case)
        given = varied(model, seed)
        if flavour in ("keras30", "keras33", "keras36"):
            if case not in ("stack", "siamese"):
                continue
            model.save(stem + ".keras")
        elif flavour == "keras315" or (flavour in ("tf212", "tfkeras") and case in ("stack", "siamese", "sequence")):
            model.save(stem + ".keras", **({"save_format": "keras_v3"} if flavour == "tf212" else {}))
            if flavour == "keras315" and case in ("stack", "siamese"):
                model.save(stem + ".h5")
        else:
            model.save(stem + ".h5")
        if case in ("stack", "siamese") and flavour in ("keras1", "keras23", "keras315"):
            weights_only(model, stem + "_weights", ".weights.h5" if flavour == "keras315" else ".h5")
        np.savez(stem + ".npz", **given)
    if flavour == "keras23" and not wanted:
        cudnn(keras, folder)


if __name__ == "__main__":
    main()
