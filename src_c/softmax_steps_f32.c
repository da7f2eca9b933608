/* SoftmaxSteps in float32: softmax over the steps of a whole run, value by value. */
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    (void)reader, (void)op;
    return io->in[0].type == ELSTM_F32 && io->out[0].type == ELSTM_F32 &&
           io->in[0].width == io->out[0].width;
}

static int when(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    (void)op;
    time->waits = 1;
    return elstm_time_sequence(io, time);
}

/* The largest values, then sums. */
static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    (void)op, (void)kernels, (void)streams;
    sizes->scratch = 2 * (uint64_t)io->in[0].width * sizeof(float);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t width = in->width, rows = in->rows;
    const elstm_activation_f32 exponential = {ELSTM_EXPONENTIAL, 0, 0, 0};
    float *restrict most = runner->scratch, *restrict sums = most + width;
    if (rows == 0) return;
    memcpy(most, in->data, width * sizeof *most);
    memset(sums, 0, width * sizeof *sums);
    for (uint32_t k = 1; k < rows; ++k) {
        const float *restrict x = (const float *)in->data + (size_t)k * in->stride;
        for (uint32_t u = 0; u < width; ++u) most[u] = x[u] > most[u] ? x[u] : most[u];
    }
    for (uint32_t k = 0; k < rows; ++k) {
        const float *restrict x = (const float *)in->data + (size_t)k * in->stride;
        float *restrict y = (float *)out->data + (size_t)k * out->stride;
        for (uint32_t u = 0; u < width; ++u) y[u] = x[u] - most[u];
        elstm_activate_f32(runner->kernels, exponential, y, width);
        for (uint32_t u = 0; u < width; ++u) sums[u] += y[u];
    }
    for (uint32_t k = 0; k < rows; ++k) {
        float *restrict y = (float *)out->data + (size_t)k * out->stride;
        for (uint32_t u = 0; u < width; ++u) y[u] /= sums[u];
    }
}

const elstm_layer elstm_layer_softmax_steps_f32 = {.kind = ELSTM_KIND_SOFTMAX_STEPS_F32,
                                                   .decode = decode,
                                                   .time = when,
                                                   .sizes = sizes,
                                                   .run = run};
