/* LayerNorm in float32: y = (x - mean) / sqrt(variance + epsilon) * scale + offset over the values
 * of a step; rms: without the mean. */
#include "op.h"

#include <float.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_layer_norm *n = &op->as.layer_norm;
    const uint32_t width = io->in[0].width;
    n->rms = elstm_read_u32(reader);
    n->epsilon = elstm_read_f32(reader);
    n->scale = elstm_read_array(reader, width, sizeof(float), 16);
    n->offset = elstm_read_array(reader, width, sizeof(float), 16);
    return !reader->failed && n->rms <= 1 && n->epsilon >= FLT_MIN && io->in[0].type == ELSTM_F32 &&
           io->out[0].type == ELSTM_F32 && io->out[0].width == width;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_layer_norm *n = &op->as.layer_norm;
    const uint32_t width = io->in[0].width;
    return elstm_values_f32_hold(n->scale, width, width) &&
           elstm_values_f32_hold(n->offset, width, width);
}

/* Eight sums side by side: short chains, small errors. Of the values, or of their squares. */
static float mean_of(const float *x, uint32_t width, int squares) {
    float sums[8] = {0}, total = 0;
    for (uint32_t u = 0; u < width; ++u) sums[u & 7] += squares ? x[u] * x[u] : x[u];
    for (uint32_t k = 0; k < 8; ++k) total += sums[k];
    return total / (float)width;
}

static void centre(float *restrict y, const float *restrict x, uint32_t width, float mean) {
    for (uint32_t u = 0; u < width; ++u) y[u] = x[u] - mean;
}

static void rows(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_layer_norm *n = &op->as.layer_norm;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t width = in->width;
    float *rest = runner->scratch;
    for (uint32_t k = 0; k < count; ++k) {
        const float *x = (const float *)in->data + (size_t)k * in->stride;
        float *y = (float *)out->data + (size_t)k * out->stride;
        /* twice: the mean is rounded as if its values were as large as it is */
        centre(rest, x, width, n->rms ? 0 : mean_of(x, width, 0));
        centre(y, rest, width, n->rms ? 0 : mean_of(rest, width, 0));
        const float root = elstm_inverse_root_f32(mean_of(y, width, 1) + n->epsilon);
        for (uint32_t u = 0; u < width; ++u) y[u] = y[u] * root * n->scale[u] + n->offset[u];
    }
}

static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    (void)op, (void)kernels, (void)streams;
    sizes->scratch = io->in[0].width * sizeof(float);
}

static void step(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->limits.streams);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->tensors[op->in].rows);
}

const elstm_layer elstm_layer_layer_norm_f32 = {.kind = ELSTM_KIND_LAYER_NORM_F32,
                                                .decode = decode,
                                                .check = check,
                                                .sizes = sizes,
                                                .step = step,
                                                .run = run};
