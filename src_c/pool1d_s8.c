/* Pool1d in s8: docs/numerics.md, "Windows". */
#include "fixedpoint.h"
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_pool1d *p = &op->as.pool1d;
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    if (!elstm_read_pool1d(reader, p, io)) return 0;
    p->raised = elstm_read_u32(reader);
    if (reader->failed || in->type == ELSTM_F32 || p->raised > 15) return 0;
    if (!p->average) return out->type == in->type && out->scale == in->scale && p->raised == 0;
    const uint64_t most = in->type == ELSTM_S16 ? 32768 : 128;
    return out->type == ELSTM_S16 && (most * p->window.reach) << p->raised <= (uint64_t)1 << 30;
}

static int when(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    return elstm_window_time(&op->as.pool1d.window, io, time);
}

/* Sums, where an average needs them. */
static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    (void)kernels, (void)streams;
    sizes->state = elstm_windows_state(&op->as.pool1d.window, &io->in[0]);
    sizes->scratch = op->as.pool1d.average ? io->in[0].width * sizeof(int32_t) : 0;
}

static void sum_s16(const int16_t *restrict x, int32_t *restrict sums, uint32_t width) {
    for (uint32_t u = 0; u < width; ++u) sums[u] += x[u];
}

static void sum_s8(const int8_t *restrict x, int32_t *restrict sums, uint32_t width) {
    for (uint32_t u = 0; u < width; ++u) sums[u] += x[u];
}

static void larger_s16(const int16_t *restrict x, int16_t *restrict y, uint32_t width) {
    for (uint32_t u = 0; u < width; ++u) y[u] = x[u] > y[u] ? x[u] : y[u];
}

static void larger_s8(const int8_t *restrict x, int8_t *restrict y, uint32_t width) {
    for (uint32_t u = 0; u < width; ++u) y[u] = x[u] > y[u] ? x[u] : y[u];
}

static void compute(elstm_runner *runner, const elstm_op *op, const elstm_windows *windows) {
    const elstm_pool1d *p = &op->as.pool1d;
    const elstm_tensor *in = &runner->tensors[op->in];
    const uint32_t width = in->width;
    const int wide = in->type == ELSTM_S16;
    int32_t *sums = runner->scratch;
    for (uint32_t k = 0; k < windows->windows * windows->streams; ++k) {
        const int64_t start = windows->start + (int64_t)(k / windows->streams) * p->window.stride;
        void *y = windows->y + k * windows->y_row;
        uint32_t seen = 0;
        if (p->average) memset(sums, 0, width * sizeof *sums);
        for (uint32_t j = 0; j < p->window.reach; ++j) {
            const void *x = elstm_windows_row(windows, k % windows->streams, start + (int64_t)j);
            if (x == NULL) continue;
            ++seen;
            if (p->average && wide)
                sum_s16(x, sums, width);
            else if (p->average)
                sum_s8(x, sums, width);
            else if (seen == 1)
                memcpy(y, x, width * (wide ? sizeof(int16_t) : sizeof(int8_t)));
            else if (wide)
                larger_s16(x, y, width);
            else
                larger_s8(x, y, width);
        }
        if (!p->average) continue;
        const int32_t divisor = (int32_t)(p->count_padding ? p->window.reach : seen);
        for (uint32_t u = 0; u < width; ++u)
            ((int16_t *)y)[u] =
                (int16_t)elstm_sat16(elstm_quotient(sums[u] * (1 << p->raised), divisor));
    }
}

static void step(elstm_runner *runner, const elstm_op *op) {
    elstm_windows_step(runner, op, &op->as.pool1d.window, compute);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    elstm_windows_run(runner, op, &op->as.pool1d.window, compute);
}

const elstm_layer elstm_layer_pool1d_s8 = {.kind = ELSTM_KIND_POOL1D_S8,
                                           .decode = decode,
                                           .time = when,
                                           .sizes = sizes,
                                           .step = step,
                                           .run = run};
