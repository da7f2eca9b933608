# edgelstm.h, in the same order.
from libc.stdint cimport int16_t, int32_t, uint32_t


cdef extern from "edgelstm.h" nogil:
    ctypedef enum elstm_status:
        ELSTM_OK
    const char *elstm_status_text(elstm_status status)

    ctypedef enum elstm_type:
        ELSTM_F32
        ELSTM_S8
        ELSTM_S16
        ELSTM_TFL8

    ctypedef struct elstm_port:
        elstm_type type
        uint32_t width
        float scale
        int32_t zero
        uint32_t single
        uint32_t own

    const uint32_t ELSTM_MAX_PORTS

    ctypedef struct elstm_model:
        elstm_type type
        uint32_t inputs
        uint32_t outputs
        elstm_port input[8]
        elstm_port output[8]
        uint32_t ops
        uint32_t state_size
        uint32_t causal
        uint32_t uneven
        uint32_t clocks
        uint32_t tensors
        uint32_t example_steps

    elstm_status elstm_model_open(elstm_model *model, const void *image, size_t size)

    ctypedef struct elstm_kernels:
        pass

    size_t elstm_kernels_count()
    const elstm_kernels *elstm_kernels_at(size_t index)
    const elstm_kernels *elstm_kernels_find(const char *name)
    const char *elstm_kernels_name(const elstm_kernels *kernels)

    ctypedef struct elstm_limits:
        uint32_t max_steps
        uint32_t streams

    size_t elstm_arena_size(const elstm_model *model, const elstm_kernels *kernels, elstm_limits limits)

    ctypedef struct elstm_runner:
        pass

    elstm_status elstm_runner_init(elstm_runner *runner, const elstm_model *model, const elstm_kernels *kernels,
                                   elstm_limits limits, void *arena, size_t arena_size)
    void elstm_step_f32(elstm_runner *runner, const float **xs, float **ys)
    void elstm_step_raw(elstm_runner *runner, const void **xs, void **ys)
    uint32_t elstm_stepped_rows(const elstm_runner *runner, uint32_t output)
    void elstm_enter_f32(elstm_runner *runner, const float **xs)
    void elstm_enter_raw(elstm_runner *runner, const void **xs)
    void elstm_step_layer(elstm_runner *runner, uint32_t layer)
    void elstm_leave_f32(elstm_runner *runner, float **ys)
    void elstm_leave_raw(elstm_runner *runner, void **ys)

    ctypedef enum elstm_rows:
        ELSTM_ROWS_MODEL
        ELSTM_ROWS_EVERY

    elstm_status elstm_run_f32(elstm_runner *runner, const float **xs, float **ys, uint32_t steps, elstm_rows rows)
    elstm_status elstm_run_s8(elstm_runner *runner, const int16_t **xs, int16_t **ys, uint32_t steps,
                              elstm_rows rows)
    elstm_status elstm_run_raw(elstm_runner *runner, const void **xs, void **ys, uint32_t steps, elstm_rows rows)
    void elstm_set_lengths(elstm_runner *runner, const uint32_t *lengths)
    uint32_t elstm_output_rows(const elstm_runner *runner, uint32_t output, uint32_t steps, elstm_rows rows)

    ctypedef enum elstm_misfit:
        ELSTM_FITS
        ELSTM_NEEDS_ROWS
        ELSTM_NEEDS_PERIODS
        ELSTM_NEEDS_ALIKE
        ELSTM_NEEDS_A_ROW

    ctypedef struct elstm_refusal:
        elstm_misfit why
        uint32_t layer
        uint32_t rows
        uint32_t wanted

    elstm_refusal elstm_run_refusal(const elstm_runner *runner, uint32_t steps, elstm_rows rows)
    void elstm_reset(elstm_runner *runner)
    void elstm_reset_stream(elstm_runner *runner, uint32_t stream)
    void *elstm_state(elstm_runner *runner, uint32_t stream)
    elstm_status elstm_self_check(elstm_runner *runner)


# What the arena's size is made of; see arena_parts.
cdef extern from "op.h" nogil:
    ctypedef struct elstm_op:
        pass
    ctypedef struct elstm_tensor:
        pass


cdef extern from "kernels.h" nogil:
    ctypedef struct kernel_table "elstm_kernels":
        uint32_t align
        void *matmul_s16
        void *step_s16
        void *step_any
        uint32_t step_scratch
    const kernel_table elstm_kernels_scalar
