/* TFLite's ADD, SUB and MUL in int8. Equations: docs/numerics.md, "tfl8". */
#include "fixedpoint.h"
#include "op.h"

#define MOST_WEIGHT (1 << 21)

/* Of a sum with weights: any m, and of the last s, 1 ... 30 places. */
static elstm_factor read_weight(elstm_reader *reader) {
    const uint32_t m = elstm_read_u32(reader), s = elstm_read_u8(reader);
    elstm_read_zeros(reader, 3);
    const int64_t wide = m > 0x7FFFFFFFu ? (int64_t)m - ((int64_t)1 << 32) : (int64_t)m;
    if (wide < -MOST_WEIGHT || wide > MOST_WEIGHT || s > 30) reader->failed = 1;
    return (elstm_factor){reader->failed ? 0 : (int32_t)wide, (int32_t)s};
}

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *out = &io->out[0];
    elstm_join_tfl8 *j = &op->as.join_tfl8;
    j->kind = elstm_read_u8(reader);
    j->low = (int8_t)elstm_read_u8(reader);
    j->high = (int8_t)elstm_read_u8(reader);
    elstm_read_zeros(reader, 1);
    j->zero = out->zero;
    elstm_factor *factors[3] = {&j->first, &j->second, &j->last};
    for (int k = 0; k < 3; ++k)
        *factors[k] =
            j->kind == ELSTM_JOIN_WEIGHTED ? read_weight(reader) : elstm_read_factor(reader);
    if (reader->failed || io->reads != 2 || j->kind >= ELSTM_JOINS || j->low > j->high ||
        out->type != ELSTM_S8 || (j->kind == ELSTM_JOIN_WEIGHTED && j->last.s < 1))
        return 0;
    for (int k = 0; k < 2; ++k)
        if (io->in[k].type != ELSTM_S8 || (io->in[k].width != 1 && io->in[k].width != out->width))
            return 0;
    if (j->kind <= ELSTM_JOIN_SUBTRACT && (j->first.s > 0 || j->second.s > 0))
        return 0; /* that halves what is 255 << 20 */
    return io->in[0].width == out->width || io->in[1].width == out->width;
}

static int timing(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    (void)op;
    return elstm_time_join(io, time);
}

static int32_t joined(const elstm_join_tfl8 *j, int32_t d, int32_t e) {
    const int32_t a = d * (1 << 20), b = e * (1 << 20);
    switch (j->kind) {
    case ELSTM_JOIN_ADD:
        return elstm_times(elstm_times(a, j->first) + elstm_times(b, j->second), j->last);
    case ELSTM_JOIN_SUBTRACT:
        return elstm_times(elstm_times(a, j->first) - elstm_times(b, j->second), j->last);
    case ELSTM_JOIN_MULTIPLY: return elstm_times(d * e, j->last);
    case ELSTM_JOIN_FLOAT: return elstm_times_float(d * e, j->last);
    case ELSTM_JOIN_SINGLE: return elstm_times_once(d * e, j->last);
    default: return (d * j->first.m + e * j->second.m + (1 << (j->last.s - 1))) >> j->last.s;
    }
}

static void rows(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_join_tfl8 *j = &op->as.join_tfl8;
    const elstm_tensor *first = &runner->tensors[op->reads[0]],
                       *second = &runner->tensors[op->reads[1]], *out = &runner->tensors[op->out];
    const size_t d_step = first->width != 1, e_step = second->width != 1;
    for (uint32_t k = 0; k < count; ++k) {
        const int8_t *d = elstm_combined_row(runner, first, k);
        const int8_t *e = elstm_combined_row(runner, second, k);
        int8_t *y = (int8_t *)out->data + (size_t)k * out->stride;
        for (uint32_t n = 0; n < out->width; ++n, d += d_step, e += e_step) {
            const int32_t v = elstm_clamp(joined(j, *d - first->zero, *e - second->zero), 65536);
            const int32_t moved = v + j->zero;
            y[n] = (int8_t)(moved < j->low ? j->low : moved > j->high ? j->high : moved);
        }
    }
}

static void step(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->limits.streams);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->tensors[op->out].rows);
}

const elstm_layer elstm_layer_join_tfl8 = {.kind = ELSTM_KIND_JOIN_TFL8,
                                           .most_reads = 2,
                                           .decode = decode,
                                           .time = timing,
                                           .step = step,
                                           .run = run};
