/* Reduce in float32: mean, maximum or sum over the steps so far, or of each period. Sums keep what
 * rounding took from them (Kahan 1965), so that long runs lose nothing. */
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    if (!elstm_read_reduce(reader, &op->as.reduce, io)) return 0;
    for (uint32_t k = 0; k < io->reads; ++k)
        if (io->in[k].type != ELSTM_F32) return 0;
    return io->out[0].type == ELSTM_F32;
}

/* The largest values, or sums and then what they lost. */
static uint64_t state(const elstm_reduce *reduce, uint32_t width) {
    const uint64_t numbers = reduce->kind == ELSTM_MAX ? 1 : 2;
    return sizeof(elstm_reduced) + numbers * width * sizeof(float);
}

static void add(const elstm_reduce *reduce, elstm_reduced *reduced, const void *row,
                const elstm_tensor *in) {
    const float *restrict x = row;
    float *restrict sum = (float *)(void *)(reduced + 1), *restrict lost = sum + in->width;
    if (reduce->kind == ELSTM_MAX) {
        if (reduced->count == 0) memcpy(sum, x, in->width * sizeof *x);
        for (uint32_t u = 0; u < in->width; ++u) sum[u] = x[u] > sum[u] ? x[u] : sum[u];
        return;
    }
    for (uint32_t u = 0; u < in->width; ++u) {
        const float given = x[u] - lost[u], total = sum[u] + given;
        lost[u] = (total - sum[u]) - given;
        sum[u] = total;
    }
}

static void answer(const elstm_reduce *reduce, const elstm_reduced *reduced, void *row,
                   const elstm_tensor *in) {
    const float *sum = (const float *)(const void *)(reduced + 1);
    const float divisor =
        reduce->kind == ELSTM_MEAN && reduced->count != 0 ? (float)reduced->count : 1;
    float *y = row;
    for (uint32_t u = 0; u < in->width; ++u) y[u] = sum[u] / divisor;
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

const elstm_layer elstm_layer_reduce_f32 = {.kind = ELSTM_KIND_REDUCE_F32,
                                            .most_reads = 2,
                                            .decode = decode,
                                            .time = elstm_reduce_time,
                                            .sizes = sizes,
                                            .step = step,
                                            .run = run};
