# cython: language_level=3, boundscheck=False, wraparound=False, binding=False, auto_pickle=False, embedsignature=True
# cython: freethreading_compatible=True
"""The door to C: one class that owns an image, an arena and the bound inputs and outputs."""

from cpython.buffer cimport (
    PyBUF_C_CONTIGUOUS, PyBUF_SIMPLE, PyBUF_WRITABLE, Py_buffer, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.exc cimport PyErr_CheckSignals
from cpython.object cimport PyObject
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stdint cimport int16_t, int64_t, uint32_t, uintptr_t
from libc.string cimport memcpy
cimport cython

import operator

import numpy as np

from .errors import BusyError, EdgeLstmError, ImageError, InputError

cdef object ndarray = np.ndarray
cdef object float32 = np.dtype(np.float32)
cdef object int8 = np.dtype(np.int8)
cdef object int16 = np.dtype(np.int16)

cdef extern from "_door.h" nogil:
    bint door_finite(const float *x, size_t count)
    int64_t door_now()


cdef extern from *:
    """
    /* How an ndarray begins. NumPy's binary interface fixes it for extensions built against NumPy 1 and 2 alike, and
     * _array_head_holds looks once. For the buffer, which NumPy could be asked for instead, it takes a block from the
     * heap each time. */
    typedef struct {
        PyObject_HEAD
        char *data;
        int dimensions;
        Py_ssize_t *shape, *strides;
        PyObject *base, *dtype;
        int flags;
    } array_head;
    """
    ctypedef struct array_head:
        char *data
        int dimensions
        Py_ssize_t *shape
        PyObject *dtype
        int flags

cdef extern from *:
    """
    /* Mark a runner as in use, 1, or find that it is, 0. Where there is a GIL, nothing comes between look and mark. */
    #if !defined(Py_GIL_DISABLED)
    static int mark_take(long *mark) {
        const int taken = *mark == 0;
        *mark = 1;
        return taken;
    }
    static void mark_give(long *mark) { *mark = 0; }
    #elif defined(_MSC_VER)
    #include <intrin.h>
    static int mark_take(long *mark) { return _InterlockedExchange(mark, 1) == 0; }
    static void mark_give(long *mark) { _InterlockedExchange(mark, 0); }
    #else
    static int mark_take(long *mark) { return __atomic_exchange_n(mark, 1, __ATOMIC_ACQUIRE) == 0; }
    static void mark_give(long *mark) { __atomic_store_n(mark, 0, __ATOMIC_RELEASE); }
    #endif
    """
    bint mark_take(long *mark) nogil
    void mark_give(long *mark) nogil


cdef enum:
    ELSTM_CONSTANT = 2  # of a port's `single`: the same row in every step
    IN_ORDER = 0x101  # flags: C-contiguous and aligned
    ALIGN = 64  # a cache line; the C core itself asks for 16
    PATIENCE = 1024  # steps of a run between two looks for Ctrl-C


cdef bint _looks_like(array, data, shape, bint in_order):
    cdef const array_head *head = <const array_head *><PyObject *>array
    if <uintptr_t>head.data != data or head.dimensions != len(shape) or head.dtype != <PyObject *>float32:
        return False
    for k, length in enumerate(shape):
        if head.shape[k] != length:
            return False
    return (head.flags & IN_ORDER == IN_ORDER) == in_order


cdef bint _array_head_holds():
    """Whether arrays of this NumPy begin as array_head says."""
    if ndarray.__basicsize__ < <Py_ssize_t>sizeof(array_head):
        return False
    row, block = np.zeros(5, float32), np.zeros((2, 3), float32)
    crooked = np.zeros(9, np.uint8)[1:].view(float32)
    return (
        _looks_like(row, row.ctypes.data, (5,), True)
        and _looks_like(block, block.ctypes.data, (2, 3), True)
        and _looks_like(block.T, block.ctypes.data, (3, 2), False)
        and _looks_like(crooked, crooked.ctypes.data, (2,), False)
    )


cdef bint HEAD_HOLDS = _array_head_holds()


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


def is_finite(array):
    """Whether a C-contiguous, aligned float32 array holds neither NaN nor infinity."""
    cdef Py_buffer view
    PyObject_GetBuffer(array, &view, PyBUF_C_CONTIGUOUS)
    try:
        return door_finite(<const float *>view.buf, <size_t>view.len // 4)
    finally:
        PyBuffer_Release(&view)


cdef _listed(xs):
    """The values for several inputs; InputError for what is no list of them."""
    try:
        return tuple(xs)
    except TypeError:
        raise InputError(f"expected a tuple with the value of each input, not {type(xs).__name__}") from None


cdef int _whole(value, str what, uint32_t end, uint32_t *whole) except -1:
    """A number from 0 to end - 1, as C wants it; else InputError."""
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = None
    if found is None:
        raise InputError(f"{what} is {value!r}, expected a whole number")
    if not 0 <= found < end:
        raise InputError(f"{what} is {found}, expected 0 to {end - 1}")
    whole[0] = found
    return 0


cdef object _dtype(const elstm_model *model, const elstm_port *port):
    """Of a port's arrays: of a tfl8 image its own type, of all others float32."""
    if model.type != ELSTM_TFL8 or port.type == ELSTM_F32:
        return float32
    return int8 if port.type == ELSTM_S8 else int16


def whole_numbers(array, dtype, input):
    """An array of whole numbers as int8 or int16; InputError where its type or values are others."""
    info = np.iinfo(dtype)
    if array.dtype.kind not in "iu":
        raise InputError(f"input {input} is {array.dtype}, expected whole numbers, as {info.dtype}")
    if array.size and not (info.min <= array.min() and array.max() <= info.max):
        raise InputError(f"input {input} goes from {array.min()} to {array.max()}, expected {info.min} to {info.max}, "
                         f"as {info.dtype}")
    return array.astype(dtype, copy=False)


cdef class Core:
    """An opened image with its arena. `xs` and `ys` are bound arrays, [streams, width] each: float32, or of a tfl8
    image the ports' own types.

    What uses the arena or the bound arrays does so with `busy` taken, in one piece, with a GIL and without: a second
    thread is refused, never mixed in. So arguments are converted, which may run foreign code that comes back here,
    before it is taken; a signal handler, which runs in the middle of a long run, and comes back, is refused as a second
    thread is. All else is as it was made.
    """

    cdef elstm_model model
    cdef elstm_runner runner
    cdef const elstm_kernels *set
    cdef unsigned char *blocks[2]  # image, arena
    cdef const float *bound_x[8]
    cdef float *bound_y[8]
    cdef size_t x_count[8]  # values of one step of all streams
    cdef Py_buffer views[16]
    cdef int held
    cdef long busy
    cdef readonly tuple xs
    cdef readonly tuple ys
    cdef object first_x
    cdef readonly object y  # the bound answer, [width] or [streams, width]; of several outputs the first
    cdef object answer  # what `step` returns: y, or a tuple with those of all outputs
    cdef uint32_t vocabulary[8]  # of inputs that hold ids; 0: of none
    cdef uint32_t lengths[8]  # of inputs that have a number of steps of their own; 0: that of the run
    cdef uint32_t max_steps
    cdef bint raw  # a tfl8 image: each port has its own type
    cdef object first_dtype  # of the first input
    cdef readonly uint32_t streams
    cdef readonly size_t arena_size

    def __cinit__(self, image, name, uint32_t streams, uint32_t max_steps):
        cdef Py_buffer source
        cdef size_t image_size
        cdef unsigned char *start
        cdef uint32_t k
        if name is not None and not isinstance(name, str):
            raise InputError(f"kernels is {name!r}, expected a name; this machine has {', '.join(kernels())}")
        # what C cannot read as text is no set's name either
        encoded = b"" if name is None else name.replace("\0", "?").encode(errors="replace")
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
        if streams > 1 and (self.model.uneven or not self.model.causal):
            raise InputError(f"streams={streams}: a model which needs steps to come, or of which some step has no row or "
                             "several, runs one stream at a time")
        self.streams = streams
        self._lay_out(max_steps)
        self.raw = self.model.type == ELSTM_TFL8
        self.xs = tuple([np.zeros((streams, self.model.input[k].width), _dtype(&self.model, &self.model.input[k]))
                         for k in range(self.model.inputs)])
        self.ys = tuple([np.zeros((streams, self.model.output[k].width), _dtype(&self.model, &self.model.output[k]))
                         for k in range(self.model.outputs)])
        self.first_dtype = _dtype(&self.model, &self.model.input[0])
        for k in range(self.model.inputs):
            self.bound_x[k] = <const float *>self._hold(self.xs[k])
            self.x_count[k] = <size_t>streams * self.model.input[k].width
        for k in range(self.model.outputs):
            self.bound_y[k] = <float *>self._hold(self.ys[k])
        answers = self.ys if streams > 1 else tuple([y[0] for y in self.ys])
        self.first_x = self.xs[0] if streams > 1 else self.xs[0][0]
        self.y = answers[0]
        self.answer = answers[0] if len(answers) == 1 else answers

    cdef int _lay_out(self, uint32_t max_steps) except -1:
        """An arena for so many steps at once, and a reset runner in it."""
        cdef elstm_limits limits
        cdef unsigned char *start
        limits.max_steps, limits.streams = max_steps, self.streams
        cdef size_t size = elstm_arena_size(&self.model, self.set, limits)
        if size == <size_t>-1:
            raise InputError(f"streams={self.streams} and max_steps={max_steps} are out of range")
        start = self._allocate(1, size)
        _check(elstm_runner_init(&self.runner, &self.model, self.set, limits, start, size))
        self.arena_size, self.max_steps = size, max_steps
        return 0

    cdef int _fit(self, uint32_t steps) except -1:
        """Room for a run that must be seen whole, which starts from a reset state."""
        cdef uint32_t k
        if not self.model.causal:
            for k in range(self.model.inputs):
                steps = max(steps, self.lengths[k])
            if steps > self.max_steps:
                self._lay_out(steps)
            elstm_set_lengths(&self.runner, self.lengths)
        return 0

    cdef unsigned char *_allocate(self, int index, size_t size) except NULL:
        """An aligned block in place of the one before, freed with this object."""
        cdef unsigned char *block = NULL
        if size < <size_t>-1 - ALIGN:
            block = <unsigned char *>PyMem_Malloc(size + ALIGN)
        if block == NULL:
            raise MemoryError(f"{size} bytes for an image or arena")
        PyMem_Free(self.blocks[index])
        self.blocks[index] = block
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
        PyMem_Free(self.blocks[0])
        PyMem_Free(self.blocks[1])

    def _limit_ids(self, vocabularies):
        """Inputs that hold ids, and how many there are; what stands for more or for none is refused."""
        for k, count in enumerate(vocabularies[: self.model.inputs]):
            _whole(count, "vocabulary", 1 << 31, &self.vocabulary[k])

    def set_lengths(self, lengths):
        """In the runs to come the steps of each input that may have a number of its own; 0: that of the run."""
        cdef uint32_t wanted[8]
        cdef uint32_t k, count = 0
        for length in lengths[: self.model.inputs]:
            _whole(length, "a length", 1 << 31, &wanted[count])
            count += 1
        self._take()
        for k in range(count):
            self.lengths[k] = wanted[k]
        elstm_set_lengths(&self.runner, self.lengths)
        mark_give(&self.busy)

    def _refuse_step(self):
        """Called where a step is asked of a model that has none."""
        raise InputError("the model needs steps to come; it can only run whole sequences")

    cdef int _check_values(self, uint32_t input, const void *values) except -1:
        """InputError where a port's row holds what no model takes: NaN, infinity, ids beyond their vocabulary."""
        if self.raw and self.model.input[input].type != ELSTM_F32:
            if self.vocabulary[input]:
                self._check_whole_ids(input, <const int16_t *>values)
            return 0
        if not door_finite(<const float *>values, self.x_count[input]):
            raise InputError("an input is NaN or infinite")
        if self.vocabulary[input]:
            self._check_ids(input, <const float *>values)
        return 0

    cdef int _check_whole_ids(self, uint32_t input, const int16_t *x) except -1:
        cdef size_t k
        for k in range(self.x_count[input]):
            if not 0 <= x[k] < <int64_t>self.vocabulary[input]:
                raise InputError(f"input {input} holds {x[k]}, expected whole numbers from 0 to "
                                 f"{self.vocabulary[input] - 1}")
        return 0

    cdef int _check_ids(self, uint32_t input, const float *x) except -1:
        cdef size_t k
        cdef float most = <float>(self.vocabulary[input] - 1)
        for k in range(self.x_count[input]):
            if not (0 <= x[k] <= most and x[k] == <float><uint32_t>x[k]):
                raise InputError(f"input {input} holds {x[k]:g}, expected whole numbers from 0 to {most:g}")
        return 0

    @cython.final
    cdef int _take(self) except -1:
        """The runner for this thread alone, until mark_give; else BusyError."""
        if not mark_take(&self.busy):
            raise BusyError("this runner is in use by another thread; give each thread its own")
        return 0

    @property
    def x(self):
        """The bound input, float32 [width] or [streams, width]; of several inputs the first. Assigning copies."""
        return self.first_x

    @x.setter
    def x(self, value):
        array = self._converted(value, 0)
        self._take()
        try:
            self.xs[0][...] = array
        finally:
            mark_give(&self.busy)

    def step(self, x=None):
        """One step of every stream; returns the bound answer, overwritten by the next step.

        x: of the input's shape and type, float32 but of tfl8 images; None: what stands in the bound inputs. A tuple
        for several inputs.
        InputError for NaN, infinity or a wrong shape, and where the model needs steps to come.
        """
        cdef const float *direct[1]
        cdef const array_head *head
        if not self.model.causal:
            self._refuse_step()
        if x is None:
            self._take()
            try:
                self._step_bound()
            finally:
                mark_give(&self.busy)
            return self.answer
        if not HEAD_HOLDS or type(x) is not ndarray or self.model.inputs != 1:
            return self._step_converted(x)
        head = <const array_head *><PyObject *>x
        if head.dtype != <PyObject *>self.first_dtype or head.flags & IN_ORDER != IN_ORDER:
            return self._step_converted(x)
        if not (head.dimensions == 1 and self.streams == 1 and <size_t>head.shape[0] == self.x_count[0]) \
                and not (head.dimensions == 2 and <size_t>head.shape[0] == self.streams
                         and <size_t>head.shape[0] * <size_t>head.shape[1] == self.x_count[0]):
            return self._step_converted(x)
        direct[0] = <const float *>head.data
        self._take()
        try:
            self._check_values(0, direct[0])
            if self.raw:
                elstm_step_raw(&self.runner, <const void **>direct, <void **>self.bound_y)
            else:
                elstm_step_f32(&self.runner, direct, self.bound_y)
        finally:
            mark_give(&self.busy)
        return self.answer

    cdef int _step_bound(self) except -1:
        """A step on the bound inputs, of a runner that is taken."""
        cdef uint32_t k
        for k in range(self.model.inputs):
            self._check_values(k, self.bound_x[k])
        if self.raw:
            elstm_step_raw(&self.runner, <const void **>self.bound_x, <void **>self.bound_y)
        else:
            elstm_step_f32(&self.runner, self.bound_x, self.bound_y)
        return 0

    @property
    def rows(self):
        """Rows that the last step wrote: 1, and of a model of which some step has none or several, 0 or so many. The
        answer is the last of them; where there was none, it is that of a step before. A tuple for several outputs."""
        self._take()
        try:
            rows = tuple([elstm_stepped_rows(&self.runner, k) for k in range(self.model.outputs)])
        finally:
            mark_give(&self.busy)
        return rows[0] if len(rows) == 1 else rows

    cdef _step_converted(self, x):
        """The slow way in: lists, other dtypes, arrays that lie crookedly, several inputs."""
        given = (x,) if self.model.inputs == 1 else _listed(x)
        if len(given) != len(self.xs):
            raise InputError(f"{len(given)} inputs given, the model has {len(self.xs)}")
        arrays = [self._converted(value, k) for k, value in enumerate(given)]
        self._take()
        try:
            for bound, array in zip(self.xs, arrays):
                bound[...] = array
            self._step_bound()
        finally:
            mark_give(&self.busy)
        return self.answer

    cdef _converted(self, value, int k):
        """A value for input k as an array of its shape that its type can take; NaN and infinity are not looked for."""
        cdef object shape = self.xs[k].shape
        cdef object dtype = self.xs[k].dtype
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise InputError(f"an input is not an array: {error}") from None
        if array.dtype.kind not in "fiub":
            raise InputError(f"an input holds {array.dtype} values, expected numbers")
        if array.shape != shape and (self.streams != 1 or array.shape != shape[1:]):
            raise InputError(f"an input has shape {array.shape}, expected {shape if self.streams != 1 else shape[1:]}")
        if dtype.kind == "i":
            return whole_numbers(array, dtype, k)
        if array.dtype.kind != "f" or array.dtype.itemsize <= 4:
            return array
        with np.errstate(over="ignore"):  # what overflows is infinite, and refused as that
            return array.astype(float32)

    def run(self, list xs, list ys, uint32_t steps, bint every_step, bint integers, uint32_t batches=1,
            bint fresh=False):
        """`steps` steps of each batch, without the GIL, and with no other thread in between.

        The first batch continues from the present state, each other one from where the one before it ended; with
        `fresh` each starts from a reset state. xs, ys: C-contiguous [batches, steps or rows, streams, width] arrays,
        float32, or int16 with `integers`, or of a tfl8 image each port's own; the dtype is the caller's promise.
        """
        cdef Py_buffer views[16]
        cdef const unsigned char *x[8]
        cdef unsigned char *y[8]
        cdef size_t x_size[8]  # bytes of a batch
        cdef size_t y_size[8]
        cdef size_t y_given[8]
        cdef elstm_rows rows = ELSTM_ROWS_EVERY if every_step else ELSTM_ROWS_MODEL
        cdef elstm_status status = ELSTM_OK
        cdef size_t x_value[8]  # bytes
        cdef size_t y_value[8]
        cdef size_t row
        cdef size_t given
        cdef int held = 0
        cdef uint32_t batch, k, left, piece
        cdef size_t walked = 0
        # an answer of the last step alone, or steps that must be seen together, cannot be had in pieces
        cdef bint whole = not self.model.causal or (self.model.uneven and not every_step)
        if len(xs) != self.model.inputs or len(ys) != self.model.outputs:
            raise InputError("a run needs an array for each input and output")
        if integers and self.model.type != ELSTM_S8:
            raise InputError("this image is f32; integers are for s8 images")
        self._take()
        try:
            self._fit(steps)
            if fresh and self.model.uneven:
                elstm_reset(&self.runner)  # how many rows there are depends on the state
            for k in range(self.model.inputs):
                given = 1 if self.model.input[k].single else self.lengths[k] or steps
                x_value[k] = 2 if integers else self._value(&self.model.input[k])
                row = x_value[k] * self.streams
                x_size[k] = row * given * self.model.input[k].width
                x[k] = <const unsigned char *>self._view(xs[k], &views[held], batches * x_size[k], x_value[k], 0)
                held += 1
            for k in range(self.model.outputs):
                y_value[k] = 2 if integers else self._value(&self.model.output[k])
                row = y_value[k] * self.streams
                y_size[k] = row * elstm_output_rows(&self.runner, k, steps, rows) * self.model.output[k].width
                y[k] = <unsigned char *>self._view(
                    ys[k], &views[held], batches * y_size[k], y_value[k], PyBUF_WRITABLE)
                held += 1
            for k in range(self.model.outputs):
                whole |= self.model.output[k].single and not every_step
            with nogil:
                for batch in range(batches):
                    if fresh:
                        elstm_reset(&self.runner)
                    left = steps
                    while left > 0:
                        piece = left if whole or left < PATIENCE else PATIENCE
                        for k in range(self.model.outputs):
                            given = elstm_output_rows(&self.runner, k, piece, rows)
                            y_given[k] = y_value[k] * self.streams * given * self.model.output[k].width
                        if self.raw:
                            status = elstm_run_raw(&self.runner, <const void **>x, <void **>y, piece, rows)
                        elif integers:
                            status = elstm_run_s8(&self.runner, <const int16_t **>x, <int16_t **>y, piece, rows)
                        else:
                            status = elstm_run_f32(&self.runner, <const float **>x, <float **>y, piece, rows)
                        if status != ELSTM_OK:
                            break
                        left -= piece
                        for k in range(self.model.inputs):
                            if not self.model.input[k].single and not whole:
                                x[k] += x_size[k] // steps * piece
                            elif left == 0:
                                x[k] += x_size[k]
                        for k in range(self.model.outputs):
                            # what stays the same is there already
                            if self.model.output[k].single != ELSTM_CONSTANT or left == 0:
                                y[k] += y_given[k]
                        walked = walked + piece if walked < PATIENCE else piece
                        if walked >= PATIENCE:
                            with gil:
                                PyErr_CheckSignals()
                    if status != ELSTM_OK:
                        break
            _check(status)
        finally:
            mark_give(&self.busy)
            for k in range(<uint32_t>held):
                PyBuffer_Release(&views[k])

    cdef size_t _value(self, const elstm_port *port):
        """Bytes of a value in a port's arrays."""
        if not self.raw or port.type == ELSTM_F32:
            return 4
        return 1 if port.type == ELSTM_S8 else 2

    cdef void *_view(self, array, Py_buffer *view, size_t size, size_t align, int flags) except NULL:
        """The memory of an array of so many bytes; the caller releases the view."""
        PyObject_GetBuffer(array, view, PyBUF_C_CONTIGUOUS | flags)
        if <size_t>view.len != size or <uintptr_t>view.buf % align != 0:
            PyBuffer_Release(view)
            # of arrays that a run made for itself only where another thread changed the state meanwhile
            raise InputError(f"an array has other than {size} aligned bytes; was the runner used by another thread?")
        return view.buf

    def arena_parts(self, uint32_t max_steps, uint32_t step_scratch):
        """What a microcontroller's arena is made of, for one stream: (clocks, layers, tensors, bytes of all else).

        Layers and tensors take the size of a C struct each, which depends on the machine. step_scratch: bytes a unit
        that the kernels of an LSTM's whole step ask for.
        """
        cdef kernel_table table
        cdef elstm_limits limits
        memcpy(&table, &elstm_kernels_scalar, sizeof(kernel_table))
        table.step_s16, table.step_scratch = <void *>table.matmul_s16, step_scratch  # asked for, and never called
        if step_scratch < 16:  # a set that keeps no sums does so whatever the types are
            table.step_any = table.step_s16
        limits.max_steps, limits.streams = max_steps, 1
        cdef size_t size = elstm_arena_size(&self.model, <const elstm_kernels *>&table, limits)
        if size == <size_t>-1:
            raise InputError(f"max_steps={max_steps} is out of range")
        cdef size_t align = table.align
        for part in (self.model.ops * sizeof(elstm_op), self.model.tensors * sizeof(elstm_tensor)):
            size -= (part + align - 1) // align * align
        return self.model.clocks, self.model.ops, self.model.tensors, size

    def time_parts(self, repeats, times):
        """Nanoseconds of the parts of steps on the bound inputs; the state is put back, the bound answers are not.

        The parts are the inputs, each layer, the outputs, then a whole step, then nothing at all, which is what the
        clock itself costs. times: float64 [rounds, layers + 4]. A round does each part repeats[part] times in a row,
        uint32 [layers + 4], and writes how long that took, the clock's cost included.

        A part may be shorter than reading the clock, so a short one must be repeated. A long one is better done once:
        between the parts that surround it in a step it finds the cache as a step does, repeated it finds its own weights
        there.
        """
        cdef Py_buffer views[2]
        cdef uint32_t parts = self.model.ops + 4
        cdef uint32_t part, held = 0
        cdef size_t rounds = len(times)
        cdef size_t k
        cdef const uint32_t *count
        cdef double *time
        cdef int64_t start
        if not self.model.causal:
            self._refuse_step()
        self._take()
        try:
            count = <const uint32_t *>self._view(repeats, &views[0], 4 * <size_t>parts, 4, 0)
            held = 1
            time = <double *>self._view(times, &views[1], 8 * rounds * parts, 8, PyBUF_WRITABLE)
            held = 2
            state = self._copy(0, self.streams)
            for k in range(rounds):
                for part in range(parts):
                    start = door_now()
                    self._work(part, count[part])
                    time[k * parts + part] = door_now() - start
            memcpy(elstm_state(&self.runner, 0), <const unsigned char *>state, <size_t>len(state))
        finally:
            mark_give(&self.busy)
            for part in range(held):
                PyBuffer_Release(&views[part])

    cdef void _work(self, uint32_t part, uint32_t repeats) noexcept nogil:
        """A part of `time_parts`, so many times."""
        cdef uint32_t layers = self.model.ops
        cdef uint32_t k
        if part == 0:
            for k in range(repeats):
                if self.raw:
                    elstm_enter_raw(&self.runner, <const void **>self.bound_x)
                else:
                    elstm_enter_f32(&self.runner, self.bound_x)
        elif part <= layers:
            for k in range(repeats):
                elstm_step_layer(&self.runner, part - 1)
        elif part == layers + 1:
            for k in range(repeats):
                if self.raw:
                    elstm_leave_raw(&self.runner, <void **>self.bound_y)
                else:
                    elstm_leave_f32(&self.runner, self.bound_y)
        elif part == layers + 2:
            for k in range(repeats):
                if self.raw:
                    elstm_step_raw(&self.runner, <const void **>self.bound_x, <void **>self.bound_y)
                else:
                    elstm_step_f32(&self.runner, self.bound_x, self.bound_y)

    def output_rows(self, output, steps, bint every_step):
        """Rows that a run of `steps` steps from the present state gives for an output."""
        cdef uint32_t k = 0, count = 0
        _whole(output, "output", self.model.outputs, &k)
        _whole(steps, "steps", <uint32_t>-1, &count)
        self._take()
        count = elstm_output_rows(&self.runner, k, count, ELSTM_ROWS_EVERY if every_step else ELSTM_ROWS_MODEL)
        mark_give(&self.busy)
        return count

    def refusal(self, steps, bint every_step):
        """None, or why a run of `steps` steps from the present state would be refused: the layer's number, a word for
        what it needs, how many rows it would read, and how many it wants."""
        cdef uint32_t count = 0
        _whole(steps, "steps", <uint32_t>-1, &count)
        self._take()
        cdef elstm_refusal found = elstm_run_refusal(
            &self.runner, count, ELSTM_ROWS_EVERY if every_step else ELSTM_ROWS_MODEL)
        mark_give(&self.busy)
        if found.why == ELSTM_FITS:
            return None
        word = {ELSTM_NEEDS_ROWS: "rows", ELSTM_NEEDS_PERIODS: "periods", ELSTM_NEEDS_ALIKE: "alike"}
        return found.layer, word.get(found.why, "a row"), found.rows, found.wanted

    def reset(self, stream=None):
        """Back to the state of a fresh runner: all streams, or one."""
        cdef uint32_t k = 0
        if stream is not None:
            _whole(stream, "stream", self.streams, &k)
        self._take()
        try:
            if stream is None:
                elstm_reset(&self.runner)
            else:
                elstm_reset_stream(&self.runner, k)
            if self.model.uneven:  # the answer before the first
                for y in self.ys:
                    y.fill(0)
        finally:
            mark_give(&self.busy)

    cdef bytes _copy(self, uint32_t stream, uint32_t streams):
        """State of so many streams, from one on, of a runner that is taken."""
        return (<unsigned char *>elstm_state(&self.runner, stream))[: <Py_ssize_t>streams * self.model.state_size]

    @property
    def state(self):
        """The state of all streams, one after the other; assigning puts it back."""
        return self._read(0, self.streams)

    @state.setter
    def state(self, state):
        self._put(0, state, <size_t>self.streams * self.model.state_size)

    def read_state(self, stream):
        """One stream's state, as bytes."""
        cdef uint32_t k = 0
        _whole(stream, "stream", self.streams, &k)
        return self._read(k, 1)

    def write_state(self, stream, state):
        """Put back what read_state gave."""
        cdef uint32_t k = 0
        _whole(stream, "stream", self.streams, &k)
        self._put(k, state, self.model.state_size)

    cdef bytes _read(self, uint32_t stream, uint32_t streams):
        self._take()
        try:
            return self._copy(stream, streams)
        finally:
            mark_give(&self.busy)

    cdef int _put(self, uint32_t stream, state, size_t size) except -1:
        """Copy bytes to the state, from a stream on."""
        cdef Py_buffer view
        try:
            PyObject_GetBuffer(state, &view, PyBUF_SIMPLE)
        except (TypeError, BufferError, ValueError):
            raise InputError(f"state is of type {type(state).__name__}, expected bytes") from None
        try:
            if <size_t>view.len != size:
                raise InputError(f"state has {view.len} bytes, expected {size}")
            self._take()
            memcpy(elstm_state(&self.runner, stream), view.buf, size)
            mark_give(&self.busy)
        finally:
            PyBuffer_Release(&view)
        return 0

    def self_check(self):
        """Replay the example inside the image; EdgeLstmError if this machine gives other answers. Resets."""
        self._take()
        try:
            self._fit(self.model.example_steps)
            _check(elstm_self_check(&self.runner))
        finally:
            mark_give(&self.busy)

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
    def causal(self):
        """True where no layer needs steps to come, so that the model can be stepped."""
        return self.model.causal != 0

    @property
    def uneven(self):
        """True where some step writes no row or several; `rows` tells."""
        return self.model.uneven != 0

    @property
    def input_scales(self):
        """Real value of 1 at each input's integer door (1.0 for f32)."""
        return tuple([self.model.input[k].scale for k in range(self.model.inputs)])

    @property
    def input_zeros(self):
        """The integer that stands for 0 at each input; 0 but for int8 inputs of a tfl8 image."""
        return tuple([self.model.input[k].zero for k in range(self.model.inputs)])

    @property
    def output_zeros(self):
        """The same of the outputs."""
        return tuple([self.model.output[k].zero for k in range(self.model.outputs)])

    @property
    def output_scales(self):
        """Real value of 1 at each output's integer door (1.0 for f32)."""
        return tuple([self.model.output[k].scale for k in range(self.model.outputs)])
