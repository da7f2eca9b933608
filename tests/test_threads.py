"""Runners and threads: each its own, or one for all, where a call is done whole or refused; with a GIL and without."""

import os
import subprocess
import sys
import sysconfig
import threading
from pathlib import Path

import nets
import numpy as np
import pytest
from golden_models import FOLDER

import edgelstm
from edgelstm.errors import BusyError, EdgeLstmError, InputError
from edgelstm.layers import Last, Lstm
from edgelstm.model import Model, Tensor
from edgelstm.quantization import quantize
from edgelstm.runner import Runner

THREADS = 4


def together(work, count=THREADS):
    """Runs work(k) in so many threads at once, switching often; what it raised is raised here."""
    barrier, errors = threading.Barrier(count), []

    def start(k):
        try:
            barrier.wait()
            work(k)
        except BaseException as error:
            errors.append(error)

    kept = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=start, args=(k,)) for k in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(kept)
    for error in errors:
        raise error


def test_importing_leaves_the_gil_as_it_was(tmp_path):
    asked = "import sys, numpy; on = getattr(sys, '_is_gil_enabled', lambda: True); print(on())"
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", f"{asked}; import edgelstm.stream; print(on())"]
    place = os.environ | {"PYTHONPATH": str(Path(edgelstm.__file__).parents[1])}  # where the package under test lies
    said = subprocess.run(command, cwd=tmp_path, env=place, capture_output=True, text=True, check=True).stdout.split()
    has_gil = not sysconfig.get_config_var("Py_GIL_DISABLED")
    assert said == [str(has_gil)] * 2


@pytest.mark.parametrize("kind", ["f32", "s8"])
def test_threads_with_runners_of_their_own_step_as_if_alone(kind):
    model = nets.stack(5, (24, 9))
    x = nets.signal((THREADS, 400, 5))
    model = quantize(model, x) if kind == "s8" else model
    expected, found = np.zeros((2, *x.shape[:2], 2), np.float32)

    def work(k, answers=found):
        runner = Runner(model)
        for row, answer in zip(x[k], answers[k]):
            answer[:] = runner.step(row)

    for k in range(THREADS):
        work(k, expected)
    together(work)
    np.testing.assert_array_equal(found, expected)


def counter(units=40):
    """An LSTM whose c grows by the same amount in every step and unit, so that it tells how many there were."""
    weights = np.zeros((4, units, 3)), np.zeros((4, units, units))
    bias = np.repeat([[200.0], [200.0], [0.01], [0.0]], units, axis=1)  # i and f are 1
    tensors = Tensor("x", 3), Tensor("h", units), Tensor("y", units)
    layers = Lstm("lstm", ("x",), ("h",), *weights, bias), Last("last", ("h",), ("y",))
    return Model(tensors, layers, ("x",), ("y",))


ONE_STEP = (
    lambda r, x: r.step(),
    lambda r, x: r.step(x),
    lambda r, x: r.step([1.0, 2.0, 3.0]),
    lambda r, x: r.step(x.astype(np.float64)),
    lambda r, x: r.run(x[None], carry=True),
    lambda r, x: r.run([[1.0, 2.0, 3.0]], carry=True),
)


def test_every_step_of_a_shared_runner_is_done_once_or_refused():
    runner = Runner(counter())
    done, refused = [0] * THREADS, [0] * THREADS

    def work(k):
        x = np.float32([k, 2, 3])
        for turn in range(600):
            try:
                ONE_STEP[(turn + k) % len(ONE_STEP)](runner, x)
                done[k] += 1
            except BusyError:
                refused[k] += 1

    together(work)
    assert sum(done) + sum(refused) == 600 * THREADS and sum(done) > 0
    alone = Runner(counter())
    for _ in range(sum(done)):
        alone.step()
    assert runner.state == alone.state
    assert len(set(np.frombuffer(runner.state, np.float32)[:40])) == 1


def test_state_of_a_shared_runner_is_read_and_written_whole():
    runner = Runner(counter())
    states = []
    for _ in range(50):
        states.append(runner.state)
        runner.step()
    known = set(states)
    assert len(known) == 50
    runner.state = states[0]  # which the first to look may find

    def work(k):
        for turn in range(1500):
            try:
                if k % 2:
                    runner.state = states[(7 * turn + k) % 50]
                else:
                    assert runner.state in known
            except BusyError:
                pass

    together(work)


@pytest.mark.parametrize("name", ["f32_windows_whole", "s8_moved_whole", "s8_windows_uneven"])
def test_runs_of_a_shared_runner_that_grows(name):
    """Each longer run lays the arena out anew, while others ask how many rows they would get."""
    path = FOLDER / f"{name}.elstm"
    lengths = [8 * n for n in range(2, 9)]
    width = Runner(path).input_widths[0]
    x = nets.signal((1, max(lengths), width))[0]
    expected = {n: Runner(path).run(x[:n]) for n in lengths}
    for _ in range(10):
        runner, found = Runner(path, max_steps=1), []

        def work(k, runner=runner, found=found):
            for n in lengths:
                try:
                    found.append((n, runner.run(x[:n])))
                    runner.output_rows(0, n, False)
                    runner.refusal(n, False)
                except EdgeLstmError as error:  # an InputError, where a run's rows depend on what another one left
                    assert "another thread" in str(error)

        together(work)
        assert found
        for n, y in found:
            for actual, wanted in zip(y, expected[n], strict=True):
                np.testing.assert_array_equal(actual, wanted)


def test_what_another_thread_may_do_between_the_parts_of_an_uneven_run():
    """A run that finds the runner taken or moved on, once it was reset, raises; alone it answers as ever."""
    path = FOLDER / "s8_windows_uneven.elstm"
    x = nets.signal((16, Runner(path).input_widths[0]))
    expected = Runner(path).run(x)

    class Met(Runner):
        meet = None

        def refusal(self, steps, every_step):
            if self.meet is not None:
                self.meet()
            return super().refusal(steps, every_step)

    def busy():
        raise BusyError("this runner is in use by another thread")

    runner = Met(path)
    fresh = runner.state
    runner.step(x[0])
    before = runner.state
    assert before != fresh
    runner.meet = busy
    with pytest.raises(BusyError):
        runner.run(x)
    assert runner.state == fresh
    runner.meet = lambda: Runner.step(runner, x[0])
    with pytest.raises(InputError, match="another thread"):
        runner.run(x)
    runner.meet = None
    for actual, wanted in zip(runner.run(x), expected, strict=True):
        np.testing.assert_array_equal(actual, wanted)
