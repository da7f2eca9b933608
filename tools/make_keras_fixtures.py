"""Writes the files of tests/golden/keras with one real Keras at a time: small models, inputs, Keras' own answers.

    python tools/make_keras_fixtures.py FLAVOUR tests/golden/keras

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
os.environ.setdefault("THEANO_FLAGS", "device=cpu,floatX=float32,cxx=")

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
        return
    inside = k.Input(shape=(STEPS, 2))
    deep = sequential(keras, start(STEPS, 4) + [lstm(3, **first(STEPS, 4)), k.Dense(2, activation="tanh")])
    encoder = keras.models.Model(inside, deep(lstm(4, return_sequences=True)(inside)))
    a, b = k.Input(shape=(STEPS, 2)), k.Input(shape=(STEPS, 2))
    head = k.Dense(2, activation="sigmoid")
    yield "siamese", keras.models.Model(inputs=[a, b], outputs=[head(encoder(a)), encoder(b)])


def randomise(model, seed):
    random = np.random.RandomState(seed)
    model.set_weights([random.uniform(-1.2, 1.2, w.shape).astype(np.float32) for w in model.get_weights()])


def answers(model, seed):
    """Inputs and Keras' answers, by the names they have in the .npz."""
    random = np.random.RandomState(seed)
    shapes = model.input_shape if isinstance(model.input_shape, list) else [model.input_shape]
    xs = [random.uniform(-2, 2, (COUNT, STEPS, shape[-1])).astype(np.float32) for shape in shapes]
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
    flavour, folder = sys.argv[1:]
    keras = load(flavour)
    print(flavour, keras.__version__)
    for seed, (case, model) in enumerate(cases(keras, flavour)):
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
    if flavour == "keras23":
        cudnn(keras, folder)


if __name__ == "__main__":
    main()
