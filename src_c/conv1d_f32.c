/* Conv1d in float32: y[t] = activation(sum over k of W[k] x[t * stride + k * dilation - left] + b).
 */
#include "op.h"

#include <string.h>

#define TOGETHER 8u /* windows gathered for one product */

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_conv1d_f32 *c = &op->as.conv1d_f32;
    elstm_conv1d *shape = &c->shape;
    if (!elstm_read_conv1d(reader, shape, io)) return 0;
    c->activation = elstm_read_activation_f32(reader);
    if (io->in[0].type != ELSTM_F32 || io->out[0].type != ELSTM_F32) return 0;
    const uint64_t rows = elstm_conv1d_rows(shape);
    const uint64_t columns =
        shape->depthwise ? shape->taps : (uint64_t)shape->taps * shape->columns;
    if (columns > UINT32_MAX) return 0;
    c->weights = elstm_read_array(reader, rows * columns, sizeof(float), 64);
    c->bias = elstm_read_array(reader, rows, sizeof(float), 16);
    return !reader->failed;
}

/* The matrix of a group. */
static elstm_matrix_f32 matrix(const elstm_conv1d_f32 *c, uint32_t group) {
    const elstm_conv1d *shape = &c->shape;
    const uint32_t groups = elstm_groups(shape->units / shape->groups);
    const uint32_t columns = shape->taps * shape->columns;
    return (elstm_matrix_f32){c->weights + (size_t)group * groups * ELSTM_GROUP * columns, groups,
                              1, columns};
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_conv1d_f32 *c = &op->as.conv1d_f32;
    const elstm_conv1d *shape = &c->shape;
    const uint32_t units = shape->units / shape->groups;
    (void)io;
    if (shape->depthwise) {
        const uint32_t padded = (uint32_t)elstm_conv1d_rows(shape);
        for (uint32_t tap = 0; tap < shape->taps; ++tap)
            if (!elstm_values_f32_hold(c->weights + (size_t)tap * padded, shape->units, padded))
                return 0;
        return elstm_values_f32_hold(c->bias, shape->units, padded);
    }
    for (uint32_t group = 0; group < shape->groups; ++group) {
        const elstm_matrix_f32 w = matrix(c, group);
        const uint32_t padded = elstm_rows_f32(&w);
        if (!elstm_matrix_f32_holds(&w, units) ||
            !elstm_values_f32_hold(c->bias + (size_t)group * padded, units, padded))
            return 0;
    }
    return 1;
}

static int when(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    return elstm_window_time(&op->as.conv1d_f32.shape.window, io, time);
}

static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const elstm_conv1d *shape = &op->as.conv1d_f32.shape;
    (void)kernels;
    sizes->state = elstm_windows_state(&shape->window, &io->in[0]);
    if (shape->depthwise) return;
    const uint64_t most = (uint64_t)io->out[0].rows * streams;
    const uint64_t together = most < TOGETHER ? most : TOGETHER;
    const uint64_t rows = elstm_groups(shape->units / shape->groups) * (uint64_t)ELSTM_GROUP;
    const uint64_t made = shape->groups == 1 ? 0 : together * rows;
    sizes->scratch = (together * shape->taps * shape->columns + made) * sizeof(float);
}

/* ---- one number a tap and value ---- */

static void depthwise(const elstm_conv1d_f32 *c, const elstm_windows *windows) {
    const elstm_conv1d *shape = &c->shape;
    const uint32_t width = shape->units, padded = (width + 7) / 8 * 8;
    for (uint32_t k = 0; k < windows->windows * windows->streams; ++k) {
        const int64_t start =
            windows->start + (int64_t)(k / windows->streams) * shape->window.stride;
        float *restrict y = (float *)(void *)(windows->y + k * windows->y_row);
        memcpy(y, c->bias, width * sizeof *y);
        for (uint32_t tap = 0; tap < shape->taps; ++tap) {
            const float *restrict x = elstm_windows_row(windows, k % windows->streams,
                                                        start + (int64_t)tap * shape->dilation);
            const float *restrict w = c->weights + (size_t)tap * padded;
            if (x == NULL) continue;
            for (uint32_t u = 0; u < width; ++u) y[u] += w[u] * x[u];
        }
    }
}

/* ---- products ---- */

/* Windows that lie in one piece and one after the other, from the k-th on. */
static uint32_t in_place(const elstm_conv1d *shape, const elstm_windows *windows, uint32_t k) {
    const uint32_t all = windows->windows * windows->streams;
    if (shape->taps == 1 && windows->streams > 1)
        return windows->start < 0 ? 0 : all - k; /* then each row is a window */
    if (windows->streams > 1) return 0;
    if (shape->taps > 1 && (shape->dilation > 1 || windows->row != shape->columns * sizeof(float)))
        return 0;
    const int64_t start = windows->start + (int64_t)k * shape->window.stride;
    const int64_t room = windows->count - start - shape->window.reach;
    if (start < 0 || room < 0) return 0;
    const int64_t most = room / shape->window.stride + 1;
    return most < all - k ? (uint32_t)most : all - k;
}

static void whole(const elstm_runner *runner, const elstm_conv1d_f32 *c,
                  const elstm_windows *windows) {
    const elstm_conv1d *shape = &c->shape;
    const elstm_matrix_f32 w = matrix(c, 0);
    const size_t row = windows->row / sizeof(float);
    const uint32_t all = windows->windows * windows->streams;
    for (uint32_t k = 0, count; k < all; k += count) {
        float *y = (float *)(void *)(windows->y + k * windows->y_row);
        const int64_t start =
            windows->start + (int64_t)(k / windows->streams) * shape->window.stride;
        count = in_place(shape, windows, k);
        if (count != 0) {
            const float *x = (const float *)(const void *)windows->rows +
                             ((size_t)start * windows->streams + k % windows->streams) * row;
            const size_t apart = windows->streams > 1 ? row : row * shape->window.stride;
            runner->kernels->matmul_f32(&w, c->bias, x, apart, y, count);
            continue;
        }
        count = elstm_windows_gather(windows, shape, k, 0, TOGETHER, runner->scratch,
                                     w.columns * sizeof(float));
        runner->kernels->matmul_f32(&w, c->bias, runner->scratch, w.columns, y, count);
    }
}

static void grouped(const elstm_runner *runner, const elstm_conv1d_f32 *c,
                    const elstm_windows *windows) {
    const elstm_conv1d *shape = &c->shape;
    const uint32_t units = shape->units / shape->groups;
    const uint32_t all = windows->windows * windows->streams;
    for (uint32_t k = 0, count; k < all; k += count) {
        count = all - k < TOGETHER ? all - k : TOGETHER;
        for (uint32_t group = 0; group < shape->groups; ++group) {
            const elstm_matrix_f32 w = matrix(c, group);
            const uint32_t padded = elstm_rows_f32(&w);
            float *x = runner->scratch, *made = x + (size_t)count * w.columns;
            elstm_windows_gather(windows, shape, k, group, TOGETHER, x, w.columns * sizeof *x);
            runner->kernels->matmul_f32(&w, c->bias + (size_t)group * padded, x, w.columns, made,
                                        count);
            for (uint32_t j = 0; j < count; ++j)
                memcpy((float *)(void *)(windows->y + (k + j) * windows->y_row) + group * units,
                       made + (size_t)j * padded, units * sizeof *made);
        }
    }
}

static void compute(elstm_runner *runner, const elstm_op *op, const elstm_windows *windows) {
    const elstm_conv1d_f32 *c = &op->as.conv1d_f32;
    if (c->shape.depthwise)
        depthwise(c, windows);
    else if (c->shape.groups == 1)
        whole(runner, c, windows);
    else
        grouped(runner, c, windows);
    if (c->activation.kind == ELSTM_LINEAR) return;
    for (uint32_t k = 0; k < windows->windows * windows->streams; ++k)
        elstm_activate_f32(runner->kernels, c->activation,
                           (float *)(void *)(windows->y + k * windows->y_row), c->shape.units);
}

static void step(elstm_runner *runner, const elstm_op *op) {
    elstm_windows_step(runner, op, &op->as.conv1d_f32.shape.window, compute);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    elstm_windows_run(runner, op, &op->as.conv1d_f32.shape.window, compute);
}

const elstm_layer elstm_layer_conv1d_f32 = {.kind = ELSTM_KIND_CONV1D_F32,
                                            .decode = decode,
                                            .check = check,
                                            .time = when,
                                            .sizes = sizes,
                                            .step = step,
                                            .run = run};
