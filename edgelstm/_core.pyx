# cython: language_level=3, boundscheck=False, wraparound=False, embedsignature=True
"""The door to C: one class that owns an image, an arena and the bound inputs and outputs."""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_ND, PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from libc.stdint cimport int16_t, uint32_t, uintptr_t
from libc.string cimport memcpy

import numpy as np

from .errors import BusyError, EdgeLstmError, ImageError, InputError

cdef object ndarray = np.ndarray
cdef object float32 = np.dtype(np.float32)

cdef enum:
    ALIGN = 64  # a cache line; the C core itself asks for 16


cdef int _check(elstm_status status) except -1:
    """A status turned into an exception, here and nowhere else."""
    if status == ELSTM_OK:
        return 0
    text = elstm_status_text(status).decode()
    if status in (-2, -3, -4, -5):
        raise ImageError(text)
    if status == -1:
        raise InputError(text)
    raise EdgeLstmError(text)


def kernels():
    """Names of the kernel sets this machine can run, best first."""
    cdef const elstm_kernels *found
    names = []
    for index in range(elstm_kernels_count()):
        found = elstm_kernels_at(index)
        if found != NULL:
            names.append(elstm_kernels_name(found).decode())
    return names


cdef int _finite(const float *x, size_t count) noexcept nogil:
    cdef const uint32_t *bits = <const uint32_t *>x
    cdef uint32_t bad = 0
    cdef size_t k
    for k in range(count):
        bad |= <uint32_t>((bits[k] & 0x7F800000u) == 0x7F800000u)
    return bad == 0


cdef class Core:
    """An opened image with its arena. `xs` and `ys` are bound float32 arrays, [streams, width] each."""

    cdef elstm_model model
    cdef elstm_runner runner
    cdef const elstm_kernels *set
    cdef unsigned char *blocks[2]  # image, arena
    cdef const float *bound_x[8]
    cdef float *bound_y[8]
    cdef size_t x_count[8]  # values of one step of all streams
    cdef Py_buffer views[16]
    cdef int held
    cdef int busy
    cdef readonly tuple xs
    cdef readonly tuple ys
    cdef object answer
    cdef readonly int streams
    cdef readonly size_t arena_size

    def __cinit__(self, image, name, uint32_t streams, uint32_t max_steps):
        cdef Py_buffer source
        cdef size_t image_size
        cdef unsigned char *start
        cdef elstm_limits limits
        cdef uint32_t k
        encoded = b"" if name is None else name.encode()
        self.set = elstm_kernels_find(NULL if name is None else <char *>encoded)
        if self.set == NULL:
            raise InputError(f"kernels {name!r} cannot run here; this machine has {', '.join(kernels())}")
        PyObject_GetBuffer(image, &source, PyBUF_SIMPLE)
        try:
            image_size = <size_t>source.len
            start = self._allocate(0, image_size)
            memcpy(start, source.buf, image_size)
        finally:
            PyBuffer_Release(&source)
        _check(elstm_model_open(&self.model, start, image_size))
        limits.max_steps, limits.streams = max_steps, streams
        self.streams = streams
        self.arena_size = elstm_arena_size(&self.model, self.set, limits)
        if self.arena_size == <size_t>-1:
            raise InputError(f"streams={streams} and max_steps={max_steps} are out of range")
        start = self._allocate(1, self.arena_size)
        _check(elstm_runner_init(&self.runner, &self.model, self.set, limits, start, self.arena_size))
        self.xs = tuple(np.zeros((streams, self.model.input[k].width), np.float32) for k in range(self.model.inputs))
        self.ys = tuple(np.zeros((streams, self.model.output[k].width), np.float32) for k in range(self.model.outputs))
        for k in range(self.model.inputs):
            self.bound_x[k] = <const float *>self._hold(self.xs[k])
            self.x_count[k] = <size_t>streams * self.model.input[k].width
        for k in range(self.model.outputs):
            self.bound_y[k] = <float *>self._hold(self.ys[k])

    cdef unsigned char *_allocate(self, int index, size_t size) except NULL:
        """An aligned block, freed with this object."""
        if size < <size_t>-1 - ALIGN:
            self.blocks[index] = <unsigned char *>PyMem_RawMalloc(size + ALIGN)
        if self.blocks[index] == NULL:
            raise MemoryError(f"{size} bytes for an image or arena")
        return self.blocks[index] + (ALIGN - <uintptr_t>self.blocks[index] % ALIGN) % ALIGN

    cdef void *_hold(self, array) except NULL:
        """The array's memory, pinned while this object lives."""
        PyObject_GetBuffer(array, &self.views[self.held], PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS)
        self.held += 1
        return self.views[self.held - 1].buf

    def __dealloc__(self):
        cdef int k
        for k in range(self.held):
            PyBuffer_Release(&self.views[k])
        PyMem_RawFree(self.blocks[0])
        PyMem_RawFree(self.blocks[1])

    cdef int _free(self) except -1:
        if self.busy:
            raise BusyError("this runner is in use by another thread; give each thread its own")
        return 0

    def bind_answer(self, answer):
        """What `step` returns: a view of `ys`, or a tuple of views."""
        self.answer = answer

    def step(self, x=None):
        """One step of every stream; returns the bound answer, overwritten by the next step.

        x: float32 of the input's shape; None: what stands in the bound inputs. A tuple for several inputs.
        InputError for NaN, infinity or a wrong shape.
        """
        cdef const float *direct[8]
        cdef Py_buffer view
        cdef uint32_t k
        self._free()
        if x is None:
            for k in range(self.model.inputs):
                if not _finite(self.bound_x[k], self.x_count[k]):
                    raise InputError("an input is NaN or infinite")
            elstm_step_f32(&self.runner, self.bound_x, self.bound_y)
            return self.answer
        # asking for the dtype costs less than asking the buffer for its format, which NumPy builds anew every time
        if type(x) is not ndarray or (<object>x).dtype is not float32 or self.model.inputs != 1:
            return self._step_converted(x)
        try:
            PyObject_GetBuffer(x, &view, PyBUF_ND)
        except (BufferError, ValueError):  # not contiguous
            return self._step_converted(x)
        if <size_t>view.len != 4 * self.x_count[0] \
                or not (view.ndim == 1 and self.streams == 1 or view.ndim == 2 and view.shape[0] == self.streams):
            PyBuffer_Release(&view)
            return self._step_converted(x)
        direct[0] = <const float *>view.buf
        if not _finite(direct[0], self.x_count[0]):
            PyBuffer_Release(&view)
            raise InputError("an input is NaN or infinite")
        elstm_step_f32(&self.runner, direct, self.bound_y)
        PyBuffer_Release(&view)
        return self.answer

    def _step_converted(self, x):
        """The slow way in: lists, other dtypes, several inputs."""
        given = (x,) if self.model.inputs == 1 else tuple(x)
        if len(given) != len(self.xs):
            raise InputError(f"{len(given)} inputs given, the model has {len(self.xs)}")
        for bound, value in zip(self.xs, given):
            try:
                array = np.asarray(value)
            except ValueError as error:
                raise InputError(f"an input is not an array: {error}") from None
            if array.dtype.kind not in "fiub":
                raise InputError(f"an input holds {array.dtype} values, expected numbers")
            if array.shape != bound.shape and (self.streams != 1 or array.shape != bound.shape[1:]):
                expected = bound.shape if self.streams != 1 else bound.shape[1:]
                raise InputError(f"an input has shape {array.shape}, expected {expected}")
            bound[...] = array
        return self.step()

    def run(self, list xs, list ys, uint32_t steps, bint every_step, bint integers):
        """`steps` steps from the present state, without the GIL. xs, ys: C-contiguous [steps or rows, streams, width]
        arrays, float32, or int16 with `integers`; shapes and dtypes are the caller's promise."""
        cdef Py_buffer views[16]
        cdef const void *x[8]
        cdef void *y[8]
        cdef elstm_rows rows = ELSTM_ROWS_EVERY if every_step else ELSTM_ROWS_MODEL
        cdef elstm_status status
        cdef int held = 0
        self._free()
        self.busy = 1
        try:
            for k, array in enumerate(xs):
                PyObject_GetBuffer(array, &views[held], PyBUF_C_CONTIGUOUS)
                x[k] = views[held].buf
                held += 1
            for k, array in enumerate(ys):
                PyObject_GetBuffer(array, &views[held], PyBUF_C_CONTIGUOUS | PyBUF_WRITABLE)
                y[k] = views[held].buf
                held += 1
            with nogil:
                if integers:
                    status = elstm_run_s8(&self.runner, <const int16_t **>x, <int16_t **>y, steps, rows)
                else:
                    status = elstm_run_f32(&self.runner, <const float **>x, <float **>y, steps, rows)
            _check(status)
        finally:
            self.busy = 0
            for k in range(held):
                PyBuffer_Release(&views[k])

    def output_rows(self, uint32_t output, uint32_t steps, bint every_step):
        """Rows that a run of `steps` steps gives for an output."""
        return elstm_output_rows(&self.runner, output, steps, ELSTM_ROWS_EVERY if every_step else ELSTM_ROWS_MODEL)

    def reset(self, stream=None):
        """Back to the state of a fresh runner: all streams, or one."""
        self._free()
        if stream is None:
            elstm_reset(&self.runner)
        elif 0 <= stream < self.streams:
            elstm_reset_stream(&self.runner, stream)
        else:
            raise InputError(f"stream {stream} does not exist; this runner has {self.streams}")

    def read_state(self, uint32_t stream):
        """One stream's state, as bytes."""
        self._free()
        return (<unsigned char *>elstm_state(&self.runner, stream))[: self.model.state_size]

    def write_state(self, uint32_t stream, bytes state):
        """Put back what read_state gave; `state` has state_size bytes."""
        self._free()
        memcpy(elstm_state(&self.runner, stream), <const unsigned char *>state, self.model.state_size)

    def self_check(self):
        """Replay the example inside the image; EdgeLstmError if this machine gives other answers. Resets."""
        self._free()
        _check(elstm_self_check(&self.runner))

    @property
    def kernels(self):
        """Name of the kernel set in use."""
        return elstm_kernels_name(self.set).decode()

    @property
    def state_size(self):
        """Bytes of one stream's state."""
        return self.model.state_size

    @property
    def integer(self):
        """True for an s8 image."""
        return self.model.type == ELSTM_S8

    @property
    def input_scales(self):
        """Real value of 1 at each input's integer door (1.0 for f32)."""
        return tuple(self.model.input[k].scale for k in range(self.model.inputs))

    @property
    def output_scales(self):
        """Real value of 1 at each output's integer door (1.0 for f32)."""
        return tuple(self.model.output[k].scale for k in range(self.model.outputs))
