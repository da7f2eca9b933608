/* Combine in s8: each tensor is brought to the scale of the one written, then they are joined.
 * Equations: docs/numerics.md, "Joins". */
#include "fixedpoint.h"
#include "op.h"

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

/* What came together, and what joins it. */
static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    (void)op, (void)kernels, (void)streams;
    sizes->scratch = 2 * (uint64_t)io->out[0].width * sizeof(int32_t);
}

/* `width` values of x, the one of a tensor of width 1 for all. */
static void values(const elstm_tensor *in, const void *row, int32_t *restrict v, uint32_t width) {
    const int8_t *restrict narrow = row;
    const int16_t *restrict wide = row;
    if (in->width == 1) {
        const int32_t one = in->type == ELSTM_S8 ? narrow[0] : wide[0];
        for (uint32_t u = 0; u < width; ++u) v[u] = one;
    } else if (in->type == ELSTM_S8) {
        for (uint32_t u = 0; u < width; ++u) v[u] = narrow[u];
    } else {
        for (uint32_t u = 0; u < width; ++u) v[u] = wide[u];
    }
}

static void rescale(int32_t *restrict v, uint32_t width, int32_t shift, int32_t multiplier) {
    const int32_t half = shift > 0 ? 1 << (shift - 1) : 0, up = shift < 0 ? 1 << -shift : 1;
    const int32_t down = shift > 0 ? shift : 0;
    for (uint32_t u = 0; u < width; ++u) {
        const int32_t t = elstm_sat16((v[u] * up + half) >> down);
        v[u] = elstm_sat16(t + elstm_mh(t, multiplier));
    }
}

/* The k-th tensor's values in the scale of the one written. */
static void bring(const elstm_combine *c, uint32_t k, const elstm_tensor *in, const void *row,
                  int32_t *restrict v, uint32_t width) {
    values(in, row, v, width);
    if (c->shift[k] == 8 && c->multiplier[k] == 0) return; /* as they are */
    for (uint32_t u = 0; u < width; ++u) v[u] *= 256;
    rescale(v, width, c->shift[k], c->multiplier[k]);
}

static void join(elstm_combination kind, int32_t *restrict y, const int32_t *restrict v,
                 uint32_t width) {
    switch (kind) {
    case ELSTM_SUBTRACT:
        for (uint32_t u = 0; u < width; ++u) y[u] -= v[u];
        return;
    case ELSTM_MULTIPLY:
        for (uint32_t u = 0; u < width; ++u) y[u] *= v[u];
        return;
    case ELSTM_MAXIMUM:
        for (uint32_t u = 0; u < width; ++u) y[u] = v[u] > y[u] ? v[u] : y[u];
        return;
    case ELSTM_MINIMUM:
        for (uint32_t u = 0; u < width; ++u) y[u] = v[u] < y[u] ? v[u] : y[u];
        return;
    default:
        for (uint32_t u = 0; u < width; ++u) y[u] += v[u];
    }
}

static void leave(elstm_type type, void *row, const int32_t *restrict v, uint32_t width) {
    int8_t *restrict narrow = row;
    int16_t *restrict wide = row;
    if (type == ELSTM_S8)
        for (uint32_t u = 0; u < width; ++u) narrow[u] = (int8_t)elstm_clamp(v[u], 127);
    else
        for (uint32_t u = 0; u < width; ++u) wide[u] = (int16_t)elstm_sat16(v[u]);
}

static void rows(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_combine *c = &op->as.combine;
    const elstm_tensor *out = &runner->tensors[op->out];
    int32_t *y = runner->scratch, *v = y + out->width;
    for (uint32_t k = 0; k < count; ++k) {
        int32_t *at = y;
        for (uint32_t j = 0; j < op->read_count; ++j) {
            const elstm_tensor *in = &runner->tensors[op->reads[j]];
            const void *row = elstm_combined_row(runner, in, k);
            if (c->kind == ELSTM_CONCATENATE) {
                bring(c, j, in, row, at, in->width);
                at += in->width;
            } else if (c->kind == ELSTM_MULTIPLY) {
                values(in, row, j == 0 ? y : v, out->width);
                if (j == 0) continue;
                join(c->kind, y, v, out->width);
                rescale(y, out->width, c->shift[j], c->multiplier[j]);
            } else {
                bring(c, j, in, row, j == 0 ? y : v, out->width);
                if (j != 0) join(c->kind, y, v, out->width);
            }
        }
        leave(out->type, (unsigned char *)out->data + k * out->row, y, out->width);
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
