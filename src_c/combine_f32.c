/* Combine in float32: several tensors to one. A tensor of width 1 serves all values, one that is
 * constant in a run all its steps. */
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_combine *c = &op->as.combine;
    if (!elstm_read_combination(reader, c, io) || io->out[0].type != ELSTM_F32) return 0;
    for (uint32_t j = 0; j < io->reads; ++j)
        if (io->in[j].type != ELSTM_F32) return 0;
    return 1;
}

static int when(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    (void)op;
    return elstm_time_join(io, time);
}

/* y joined with x, which is one value for all where it is not `wide`. */
static void join(elstm_combination kind, float *restrict y, const float *restrict x, int wide,
                 uint32_t width) {
    const float one = x[0];
    switch (kind) {
    case ELSTM_SUBTRACT:
        for (uint32_t u = 0; u < width; ++u) y[u] -= wide ? x[u] : one;
        return;
    case ELSTM_MULTIPLY:
        for (uint32_t u = 0; u < width; ++u) y[u] *= wide ? x[u] : one;
        return;
    case ELSTM_MAXIMUM:
        for (uint32_t u = 0; u < width; ++u) {
            const float v = wide ? x[u] : one;
            y[u] = v > y[u] ? v : y[u];
        }
        return;
    case ELSTM_MINIMUM:
        for (uint32_t u = 0; u < width; ++u) {
            const float v = wide ? x[u] : one;
            y[u] = v < y[u] ? v : y[u];
        }
        return;
    default:
        for (uint32_t u = 0; u < width; ++u) y[u] += wide ? x[u] : one;
    }
}

static void rows(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_combine *c = &op->as.combine;
    const elstm_tensor *out = &runner->tensors[op->out];
    for (uint32_t k = 0; k < count; ++k) {
        float *y = (float *)out->data + (size_t)k * out->stride, *at = y;
        for (uint32_t j = 0; j < op->read_count; ++j) {
            const elstm_tensor *in = &runner->tensors[op->reads[j]];
            const float *x = elstm_combined_row(runner, in, k);
            if (c->kind == ELSTM_CONCATENATE || (j == 0 && in->width == out->width)) {
                memcpy(at, x, in->width * sizeof *x);
                at += in->width;
            } else if (j == 0) {
                for (uint32_t u = 0; u < out->width; ++u) y[u] = x[0];
            } else {
                join(c->kind, y, x, in->width > 1, out->width);
            }
        }
        if (c->kind != ELSTM_AVERAGE) continue;
        for (uint32_t u = 0; u < out->width; ++u) y[u] /= (float)op->read_count;
    }
}

static void step(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->limits.streams);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->tensors[op->out].rows);
}

const elstm_layer elstm_layer_combine_f32 = {.kind = ELSTM_KIND_COMBINE_F32,
                                             .most_reads = ELSTM_MAX_READS,
                                             .decode = decode,
                                             .time = when,
                                             .step = step,
                                             .run = run};
