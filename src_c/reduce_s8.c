/* Reduce in s8: mean, maximum or sum over the steps so far, or of each period. Equations:
 * docs/numerics.md, "Over all steps". */
#include "fixedpoint.h"
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_reduce *r = &op->as.reduce;
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    if (!elstm_read_reduce(reader, r, io)) return 0;
    const uint32_t raised = elstm_read_u32(reader);
    r->raised = (int32_t)(raised & 63) - (raised > 63 ? 64 : 0);
    for (uint32_t k = 0; k < io->reads; ++k)
        if (io->in[k].type == ELSTM_F32) return 0;
    if (reader->failed || raised != (uint32_t)r->raised || r->raised > 15 ||
        r->raised < (r->kind == ELSTM_SUM ? -31 : 0))
        return 0;
    if (r->kind == ELSTM_MAX)
        return out->type == in->type && out->scale == in->scale && r->raised == 0;
    return out->type == ELSTM_S16;
}

/* The largest values as int16, or sums. */
static uint64_t state(const elstm_reduce *reduce, uint32_t width) {
    return sizeof(elstm_reduced) +
           (uint64_t)width * (reduce->kind == ELSTM_MAX ? sizeof(int16_t) : sizeof(int64_t));
}

static int32_t value(const void *x, const elstm_tensor *in, uint32_t at) {
    return in->type == ELSTM_S8 ? ((const int8_t *)x)[at] : ((const int16_t *)x)[at];
}

static void add(const elstm_reduce *reduce, elstm_reduced *reduced, const void *row,
                const elstm_tensor *in) {
    if (reduce->kind == ELSTM_MAX) {
        int16_t *most = (int16_t *)(void *)(reduced + 1);
        for (uint32_t u = 0; u < in->width; ++u) {
            const int32_t v = value(row, in, u);
            if (reduced->count == 0 || v > most[u]) most[u] = (int16_t)v;
        }
        return;
    }
    int64_t *sum = (int64_t *)(void *)(reduced + 1);
    for (uint32_t u = 0; u < in->width; ++u) sum[u] += value(row, in, u);
}

static int16_t saturated(int64_t v) {
    return (int16_t)(v < -32768 ? -32768 : v > 32767 ? 32767 : v);
}

static void answer(const elstm_reduce *reduce, const elstm_reduced *reduced, void *row,
                   const elstm_tensor *in) {
    const int64_t *sum = (const int64_t *)(const void *)(reduced + 1);
    const int16_t *most = (const int16_t *)(const void *)(reduced + 1);
    const int32_t up = reduce->raised > 0 ? reduce->raised : 0, down = up - reduce->raised;
    const int64_t half = down > 0 ? (int64_t)1 << (down - 1) : 0;
    const int32_t divisor = reduced->count == 0 ? 1 : (int32_t)reduced->count;
    for (uint32_t u = 0; u < in->width; ++u) {
        if (reduce->kind == ELSTM_MEAN)
            ((int16_t *)row)[u] = saturated(elstm_quotient_wide(sum[u] * (1 << up), divisor));
        else if (reduce->kind == ELSTM_SUM)
            ((int16_t *)row)[u] = saturated((sum[u] * (1 << up) + half) >> down);
        else if (in->type == ELSTM_S8)
            ((int8_t *)row)[u] = (int8_t)most[u];
        else
            ((int16_t *)row)[u] = most[u];
    }
}

static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    (void)kernels, (void)streams;
    sizes->state = state(&op->as.reduce, io->in[0].width);
}

static const elstm_reduction reduction = {state, add, answer};

static void step(elstm_runner *runner, const elstm_op *op) {
    elstm_reduce_rows(runner, op, runner->limits.streams, 1, &reduction);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    elstm_reduce_rows(runner, op, runner->tensors[op->in].rows, (int)runner->every, &reduction);
}

const elstm_layer elstm_layer_reduce_s8 = {.kind = ELSTM_KIND_REDUCE_S8,
                                           .most_reads = 2,
                                           .decode = decode,
                                           .time = elstm_reduce_time,
                                           .sizes = sizes,
                                           .step = step,
                                           .run = run};
