/* TFLite's MAX_POOL_2D and AVERAGE_POOL_2D over steps, in int8: docs/numerics.md, "tfl8". */
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_pool1d *p = &op->as.pool1d;
    if (!elstm_read_pool1d(reader, p, io)) return 0;
    p->low = (int8_t)elstm_read_u8(reader);
    p->high = (int8_t)elstm_read_u8(reader);
    elstm_read_zeros(reader, 2);
    return !reader->failed && io->in[0].type == ELSTM_S8 && elstm_alike(&io->in[0], &io->out[0]) &&
           p->count_padding == 0 && p->low <= p->high;
}

static int when(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    return elstm_window_time(&op->as.pool1d.window, io, time);
}

/* The largest values, or sums. */
static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    (void)kernels, (void)streams;
    sizes->state = elstm_windows_state(&op->as.pool1d.window, &io->in[0]);
    sizes->scratch = io->in[0].width * sizeof(int32_t);
}

/* v / n, ties away from zero. */
static int32_t quotient(int32_t v, int32_t n) { return v > 0 ? (v + n / 2) / n : (v - n / 2) / n; }

static void compute(elstm_runner *runner, const elstm_op *op, const elstm_windows *windows) {
    const elstm_pool1d *p = &op->as.pool1d;
    const uint32_t width = runner->tensors[op->in].width, streams = windows->streams;
    int32_t *found = runner->scratch;
    for (uint32_t k = 0; k < windows->windows * streams; ++k) {
        const int64_t start = windows->start + (int64_t)(k / streams) * p->window.stride;
        int8_t *y = (int8_t *)windows->y + k * windows->y_row;
        int32_t seen = 0;
        memset(found, 0, width * sizeof *found);
        for (uint32_t j = 0; j < p->window.reach; ++j) {
            const int8_t *x = elstm_windows_row(windows, k % streams, start + (int64_t)j);
            if (x == NULL) continue;
            for (uint32_t u = 0; u < width; ++u) {
                if (p->average)
                    found[u] += x[u];
                else if (seen == 0 || x[u] > found[u])
                    found[u] = x[u];
            }
            ++seen;
        }
        for (uint32_t u = 0; u < width; ++u) {
            const int32_t v = p->average && seen > 0 ? quotient(found[u], seen) : found[u];
            y[u] = (int8_t)(v < p->low ? p->low : v > p->high ? p->high : v);
        }
    }
}

static void step(elstm_runner *runner, const elstm_op *op) {
    elstm_windows_step(runner, op, &op->as.pool1d.window, compute);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    elstm_windows_run(runner, op, &op->as.pool1d.window, compute);
}

const elstm_layer elstm_layer_pool1d_tfl8 = {.kind = ELSTM_KIND_POOL1D_TFL8,
                                             .decode = decode,
                                             .time = when,
                                             .sizes = sizes,
                                             .step = step,
                                             .run = run};
