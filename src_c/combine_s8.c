/* Combine in s8: each tensor is brought to the scale of the one written, then they are joined.
 * Equations: docs/numerics.md, "Joins". */
#include "fixedpoint.h"
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_combine *c = &op->as.combine;
    if (!elstm_read_combination(reader, c, io) || c->kind == ELSTM_AVERAGE ||
        io->out[0].type == ELSTM_F32)
        return 0;
    const int product = c->kind == ELSTM_MULTIPLY;
    for (uint32_t j = 0; j < io->reads; ++j) {
        const uint32_t shift = elstm_read_u8(reader);
        c->shift[j] = (int8_t)((int32_t)shift - (shift > 127 ? 256 : 0));
        elstm_read_zeros(reader, 1);
        const uint32_t multiplier = elstm_read_u16(reader);
        c->multiplier[j] = (int16_t)(multiplier & 32767);
        if (io->in[j].type == ELSTM_F32 || multiplier > 32767 || c->shift[j] < (product ? 0 : -4) ||
            c->shift[j] > 27 || (product && j == 0 && (shift != 0 || multiplier != 0)))
            return 0;
    }
    return !reader->failed;
}

static int when(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    (void)op;
    return elstm_time_join(io, time);
}

static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    (void)op, (void)kernels, (void)streams;
    sizes->scratch = io->out[0].width * sizeof(int32_t);
}

static int32_t value(elstm_type type, const void *x, uint32_t at) {
    return type == ELSTM_S8 ? ((const int8_t *)x)[at] : ((const int16_t *)x)[at];
}

/* Integers that pass as they are. */
static int same(const elstm_combine *c, uint32_t j) {
    return c->kind != ELSTM_MULTIPLY && c->shift[j] == 8 && c->multiplier[j] == 0;
}

/* v becomes v joined with x, `width` values from `at` on. */
static void join(const elstm_combine *c, uint32_t j, int32_t *restrict v, const elstm_tensor *in,
                 const void *x, uint32_t width) {
    const int32_t shift = c->shift[j], multiplier = c->multiplier[j];
    for (uint32_t u = 0; u < width; ++u) {
        const int32_t here = value(in->type, x, in->width == 1 ? 0 : u);
        if (c->kind == ELSTM_MULTIPLY) {
            v[u] = j == 0 ? here : elstm_rescale_one(v[u] * here, shift, multiplier);
            continue;
        }
        const int32_t z = same(c, j) ? here : elstm_rescale_one(256 * here, shift, multiplier);
        if (j == 0 || c->kind == ELSTM_CONCATENATE)
            v[u] = z;
        else if (c->kind == ELSTM_MAXIMUM)
            v[u] = z > v[u] ? z : v[u];
        else if (c->kind == ELSTM_MINIMUM)
            v[u] = z < v[u] ? z : v[u];
        else
            v[u] += c->kind == ELSTM_SUBTRACT ? -z : z;
    }
}

static void leave(const elstm_tensor *out, uint32_t k, const int32_t *restrict v) {
    void *y = (unsigned char *)out->data + k * out->row;
    if (out->type == ELSTM_S8)
        for (uint32_t u = 0; u < out->width; ++u) ((int8_t *)y)[u] = (int8_t)elstm_clamp(v[u], 127);
    else
        for (uint32_t u = 0; u < out->width; ++u) ((int16_t *)y)[u] = (int16_t)elstm_sat16(v[u]);
}

static void rows(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_combine *c = &op->as.combine;
    const elstm_tensor *out = &runner->tensors[op->out];
    int32_t *v = runner->scratch;
    for (uint32_t k = 0; k < count; ++k) {
        uint32_t at = 0;
        for (uint32_t j = 0; j < op->read_count; ++j) {
            const elstm_tensor *in = &runner->tensors[op->reads[j]];
            const int parts = c->kind == ELSTM_CONCATENATE;
            join(c, j, v + at, in, elstm_combined_row(runner, in, k),
                 parts ? in->width : out->width);
            if (parts) at += in->width;
        }
        leave(out, k, v);
    }
}

static void step(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->limits.streams);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->tensors[op->out].rows);
}

const elstm_layer elstm_layer_combine_s8 = {.kind = ELSTM_KIND_COMBINE_S8,
                                            .most_reads = ELSTM_MAX_READS,
                                            .decode = decode,
                                            .time = when,
                                            .sizes = sizes,
                                            .step = step,
                                            .run = run};
