/* Pool1d in float32: the maximum or the mean of each window, value by value. */
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    return elstm_read_pool1d(reader, &op->as.pool1d, io) && io->in[0].type == ELSTM_F32 &&
           io->out[0].type == ELSTM_F32;
}

static int when(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    return elstm_window_time(&op->as.pool1d.window, io, time);
}

static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    (void)kernels, (void)streams;
    sizes->state = elstm_windows_state(&op->as.pool1d.window, &io->in[0]);
}

static void compute(elstm_runner *runner, const elstm_op *op, const elstm_windows *windows) {
    const elstm_pool1d *p = &op->as.pool1d;
    const uint32_t width = runner->tensors[op->out].width;
    for (uint32_t k = 0; k < windows->windows * windows->streams; ++k) {
        const int64_t start = windows->start + (int64_t)(k / windows->streams) * p->window.stride;
        float *restrict y = (float *)(void *)(windows->y + k * windows->y_row);
        uint32_t seen = 0;
        for (uint32_t j = 0; j < p->window.reach; ++j) {
            const float *restrict x =
                elstm_windows_row(windows, k % windows->streams, start + (int64_t)j);
            if (x == NULL) continue;
            if (seen++ == 0)
                memcpy(y, x, width * sizeof *y);
            else if (p->average)
                for (uint32_t u = 0; u < width; ++u) y[u] += x[u];
            else
                for (uint32_t u = 0; u < width; ++u) y[u] = x[u] > y[u] ? x[u] : y[u];
        }
        if (!p->average) continue;
        const float divisor = (float)(p->count_padding ? p->window.reach : seen);
        for (uint32_t u = 0; u < width; ++u) y[u] /= divisor;
    }
}

static void step(elstm_runner *runner, const elstm_op *op) {
    elstm_windows_step(runner, op, &op->as.pool1d.window, compute);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    elstm_windows_run(runner, op, &op->as.pool1d.window, compute);
}

const elstm_layer elstm_layer_pool1d_f32 = {.kind = ELSTM_KIND_POOL1D_F32,
                                            .decode = decode,
                                            .time = when,
                                            .sizes = sizes,
                                            .step = step,
                                            .run = run};
