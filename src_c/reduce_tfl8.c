/* TFLite's MEAN and REDUCE_MAX over steps, in int8: docs/numerics.md, "tfl8". */
#include "fixedpoint.h"
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_reduce *r = &op->as.reduce;
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    if (!elstm_read_reduce(reader, r, io)) return 0;
    r->factor = elstm_read_factor(reader);
    r->ratio = elstm_read_f32(reader);
    r->zero = out->zero;
    r->in_float = r->ratio > 0.0f;
    if (reader->failed || r->masked || in->type != ELSTM_S8 || out->type != ELSTM_S8 ||
        r->ratio < 0.0f || (r->in_float && r->factor.m != 0))
        return 0;
    if (r->kind == ELSTM_MAX) return elstm_alike(in, out) && r->factor.m == 0 && !r->in_float;
    return r->kind == ELSTM_MEAN;
}

/* The largest values, or sums. */
static uint64_t state(const elstm_reduce *reduce, uint32_t width) {
    return sizeof(elstm_reduced) +
           (uint64_t)width * (reduce->kind == ELSTM_MAX ? sizeof(int8_t) : sizeof(int64_t));
}

static void add(const elstm_reduce *reduce, elstm_reduced *reduced, const void *row,
                const elstm_tensor *in) {
    const int8_t *x = row;
    int8_t *most = (int8_t *)(reduced + 1);
    int64_t *sum = (int64_t *)(void *)(reduced + 1);
    for (uint32_t u = 0; u < in->width; ++u) {
        if (reduce->kind != ELSTM_MAX)
            sum[u] += x[u];
        else if (reduced->count == 0 || x[u] > most[u])
            most[u] = x[u];
    }
}

static int8_t clamped(int64_t v) { return (int8_t)(v < -128 ? -128 : v > 127 ? 127 : v); }

static void mean(const elstm_reduce *reduce, const int64_t *sum, uint32_t count, int8_t *y,
                 const elstm_tensor *in) {
    if (reduce->in_float) {
        elstm_mean_f32(reduce, sum, count, y, in);
        return;
    }
    uint32_t places = 0;
    while (places < 31 && count >> (places + 1) != 0) ++places;
    const uint32_t most = (uint32_t)(31 + reduce->factor.s);
    places = places < most ? places : most;
    const elstm_factor f = {(int32_t)(((int64_t)reduce->factor.m << places) / (int64_t)count),
                            reduce->factor.s - (int32_t)places};
    for (uint32_t u = 0; u < in->width; ++u) {
        const int32_t v = elstm_held(sum[u] - (int64_t)in->zero * count);
        y[u] = clamped((int64_t)elstm_times(v, f) + reduce->zero);
    }
}

static void answer(const elstm_reduce *reduce, const elstm_reduced *reduced, void *row,
                   const elstm_tensor *in) {
    if (reduce->kind == ELSTM_MAX)
        memcpy(row, reduced + 1, in->width);
    else
        mean(reduce, (const int64_t *)(const void *)(reduced + 1),
             reduced->count == 0 ? 1 : reduced->count, row, in);
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

const elstm_layer elstm_layer_reduce_tfl8 = {.kind = ELSTM_KIND_REDUCE_TFL8,
                                             .decode = decode,
                                             .time = elstm_reduce_time,
                                             .sizes = sizes,
                                             .step = step,
                                             .run = run};
