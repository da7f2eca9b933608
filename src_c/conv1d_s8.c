/* Conv1d in s8: int8 weights, int8 or int16 in, int16 out. Equations: docs/numerics.md. */
#include "fixedpoint.h"
#include "op.h"

#include <string.h>

#define TOGETHER 8u /* windows gathered for one product */

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_conv1d_s8 *c = &op->as.conv1d_s8;
    elstm_conv1d *shape = &c->shape;
    if (!elstm_read_conv1d(reader, shape, io)) return 0;
    c->activation = elstm_read_activation_s16(reader);
    elstm_read_zeros(reader, 2);
    if (io->in[0].type == ELSTM_F32 || io->out[0].type != ELSTM_S16) return 0;
    const uint64_t rows = elstm_conv1d_rows(shape);
    const uint64_t quads = ((uint64_t)shape->taps * shape->columns + 3) / 4;
    if (quads > UINT32_MAX / 4) return 0;
    c->weights =
        elstm_read_array(reader, rows * (shape->depthwise ? shape->taps : 4 * quads), 1, 64);
    c->rescale.bias = elstm_read_array(reader, rows, sizeof(int32_t), 16);
    c->rescale.shift = elstm_read_array(reader, rows, 1, 16);
    c->requantize.shift = elstm_read_array(reader, rows, 1, 16);
    c->requantize.multiplier = elstm_read_array(reader, rows, sizeof(int16_t), 16);
    elstm_read_table(reader, &c->activation);
    return !reader->failed;
}

/* Rows of one group's matrix. */
static uint32_t group_rows(const elstm_conv1d *shape) {
    return elstm_groups(shape->units / shape->groups) * ELSTM_GROUP;
}

static elstm_matrix_s8 matrix(const elstm_conv1d_s8 *c, uint32_t group) {
    const elstm_conv1d *shape = &c->shape;
    const uint32_t rows = group_rows(shape), quads = (shape->taps * shape->columns + 3) / 4;
    const size_t at = (size_t)group * rows;
    return (elstm_matrix_s8){c->weights + at * quads * 4,
                             c->surplus == NULL ? NULL : c->surplus + at, rows / ELSTM_GROUP, 1,
                             quads};
}

static elstm_rescale rescale(const elstm_conv1d_s8 *c, uint32_t group) {
    const size_t at = (size_t)group * group_rows(&c->shape);
    return (elstm_rescale){c->rescale.shift + at, c->rescale.bias + at};
}

static elstm_requantize requantize(const elstm_conv1d_s8 *c, uint32_t group) {
    const size_t at = (size_t)group * group_rows(&c->shape);
    return (elstm_requantize){c->requantize.shift + at, c->requantize.multiplier + at, NULL, 0};
}

static int check_depthwise(const elstm_conv1d_s8 *c, int wide) {
    const elstm_conv1d *shape = &c->shape;
    const uint32_t padded = (uint32_t)elstm_conv1d_rows(shape);
    elstm_row_s8 bounds = {.least = wide ? 0 : -4};
    for (uint32_t row = 0; row < padded; ++row) {
        int64_t sum = 0;
        for (uint32_t tap = 0; tap < shape->taps; ++tap) {
            const int32_t w = c->weights[(size_t)tap * padded + row];
            if (w == -128) return 0;
            sum += w < 0 ? -w : w;
        }
        bounds.sum_x = sum;
        bounds.bias = c->rescale.bias[row];
        bounds.kx = c->rescale.shift[row];
        bounds.s = c->requantize.shift[row];
        bounds.m = c->requantize.multiplier[row];
        bounds.unused = row >= shape->units;
        if (!elstm_row_s8_holds(&bounds, wide, 0)) return 0;
    }
    return 1;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_conv1d_s8 *c = &op->as.conv1d_s8;
    const elstm_conv1d *shape = &c->shape;
    const int wide = io->in[0].type == ELSTM_S16;
    if (shape->depthwise) return check_depthwise(c, wide);
    for (uint32_t group = 0; group < shape->groups; ++group) {
        const elstm_matrix_s8 w = matrix(c, group);
        const elstm_rescale r = rescale(c, group);
        const elstm_requantize q = requantize(c, group);
        const elstm_rows_s8_check rows = {&w,
                                          NULL,
                                          &r,
                                          &q,
                                          shape->units / shape->groups,
                                          shape->taps * shape->columns,
                                          io->in[0].type,
                                          0,
                                          wide ? 0 : -4};
        if (!elstm_rows_s8_hold(&rows)) return 0;
    }
    return 1;
}

static int when(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    return elstm_window_time(&op->as.conv1d_s8.shape.window, io, time);
}

static uint64_t aligned(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

/* Scratch: windows, then sums, then in groups the rows they become. */
static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const elstm_conv1d *shape = &op->as.conv1d_s8.shape;
    const uint64_t most = (uint64_t)io->out[0].rows * streams, rows = group_rows(shape);
    const uint64_t together = most < TOGETHER ? most : TOGETHER;
    const uint64_t quads = ((uint64_t)shape->taps * shape->columns + 3) / 4;
    sizes->state = elstm_windows_state(&shape->window, &io->in[0]);
    if (shape->depthwise) {
        sizes->scratch = elstm_conv1d_rows(shape) * sizeof(int32_t);
        return;
    }
    sizes->prepared = kernels->prepare_s8 == NULL ? 0 : elstm_conv1d_rows(shape) * sizeof(int32_t);
    sizes->scratch = aligned(together * quads * 4 * sizeof(int16_t)) +
                     aligned(together * rows * sizeof(int32_t)) + rows * sizeof(int16_t);
}

static void prepare(const elstm_runner *runner, elstm_op *op) {
    elstm_conv1d_s8 *c = &op->as.conv1d_s8;
    int32_t *at = op->prepared;
    if (c->shape.depthwise || runner->kernels->prepare_s8 == NULL) return;
    for (uint32_t group = 0; group < c->shape.groups; ++group) {
        elstm_matrix_s8 w = matrix(c, group);
        at = elstm_prepare_s8(runner->kernels, &w, at);
    }
    c->surplus = op->prepared;
}

/* ---- one number a tap and value ---- */

static void multiply_s16(const int8_t *restrict w, const int16_t *restrict x, int32_t *restrict acc,
                         uint32_t width) {
    for (uint32_t u = 0; u < width; ++u) acc[u] += w[u] * x[u];
}

static void multiply_s8(const int8_t *restrict w, const int8_t *restrict x, int32_t *restrict acc,
                        uint32_t width) {
    for (uint32_t u = 0; u < width; ++u) acc[u] += w[u] * x[u];
}

static void depthwise(const elstm_runner *runner, const elstm_conv1d_s8 *c,
                      const elstm_windows *windows, int wide) {
    const elstm_conv1d *shape = &c->shape;
    const uint32_t padded = (uint32_t)elstm_conv1d_rows(shape);
    int32_t *acc = runner->scratch;
    for (uint32_t k = 0; k < windows->windows * windows->streams; ++k) {
        const int64_t start =
            windows->start + (int64_t)(k / windows->streams) * shape->window.stride;
        memset(acc, 0, padded * sizeof *acc);
        for (uint32_t tap = 0; tap < shape->taps; ++tap) {
            const void *x = elstm_windows_row(windows, k % windows->streams,
                                              start + (int64_t)tap * shape->dilation);
            const int8_t *w = c->weights + (size_t)tap * padded;
            if (x == NULL) continue;
            if (wide)
                multiply_s16(w, x, acc, shape->units);
            else
                multiply_s8(w, x, acc, shape->units);
        }
        for (uint32_t u = 0; u < padded; ++u)
            acc[u] = elstm_sh(acc[u], c->rescale.shift[u]) + c->rescale.bias[u];
        runner->kernels->requantize_s8(
            acc, &c->requantize, (int16_t *)(void *)(windows->y + k * windows->y_row), padded);
    }
}

/* ---- products ---- */

/* The k-th window where it lies in one piece, else NULL. */
static const void *in_place(const elstm_conv1d *shape, const elstm_windows *windows, uint32_t k,
                            size_t size) {
    const int64_t start = windows->start + (int64_t)(k / windows->streams) * shape->window.stride;
    if (start < 0 || start + shape->window.reach > windows->count) return NULL;
    if (shape->taps > 1 &&
        (shape->dilation > 1 || windows->streams > 1 || windows->row != shape->columns * size))
        return NULL;
    return elstm_windows_row(windows, k % windows->streams, start);
}

static void product(const elstm_runner *runner, const elstm_matrix_s8 *w, const elstm_rescale *r,
                    int wide, const void *x, int32_t *acc, uint32_t count) {
    const size_t apart = (size_t)w->quads * 4;
    if (wide)
        runner->kernels->matmul_s16(w, r, x, apart, acc, count);
    else
        runner->kernels->matmul_s8(w, r, x, apart, acc, count);
}

static void products(const elstm_runner *runner, const elstm_conv1d_s8 *c,
                     const elstm_windows *windows, int wide) {
    const elstm_conv1d *shape = &c->shape;
    const uint32_t units = shape->units / shape->groups, padded = group_rows(shape);
    const uint32_t all = windows->windows * windows->streams;
    const size_t size = wide ? sizeof(int16_t) : sizeof(int8_t);
    const size_t window = (shape->taps * (size_t)shape->columns + 3) / 4 * 4 * size;
    const uint32_t together = all < TOGETHER ? all : TOGETHER;
    unsigned char *x = runner->scratch;
    int32_t *acc = (int32_t *)(void *)(x + aligned(together * window));
    int16_t *made = (int16_t *)(void *)((unsigned char *)acc +
                                        aligned((size_t)together * padded * sizeof *acc));
    for (uint32_t k = 0, count; k < all; k += count) {
        count = all - k < together ? all - k : together;
        for (uint32_t group = 0; group < shape->groups; ++group) {
            const elstm_matrix_s8 w = matrix(c, group);
            const elstm_rescale r = rescale(c, group);
            const elstm_requantize q = requantize(c, group);
            const void *there = shape->groups == 1 ? in_place(shape, windows, k, size) : NULL;
            if (there != NULL) {
                count = 1;
                product(runner, &w, &r, wide, there, acc, 1);
            } else {
                elstm_windows_gather(windows, shape, k, group, count, x, window);
                product(runner, &w, &r, wide, x, acc, count);
            }
            for (uint32_t j = 0; j < count; ++j) {
                int16_t *y = (int16_t *)(void *)(windows->y + (k + j) * windows->y_row);
                int16_t *z = shape->groups == 1 ? y : made;
                runner->kernels->requantize_s8(acc + (size_t)j * padded, &q, z, padded);
                if (z != y) memcpy(y + (size_t)group * units, z, units * sizeof *z);
            }
        }
    }
}

static void compute(elstm_runner *runner, const elstm_op *op, const elstm_windows *windows) {
    const elstm_conv1d_s8 *c = &op->as.conv1d_s8;
    const int wide = runner->tensors[op->in].type == ELSTM_S16;
    if (c->shape.depthwise)
        depthwise(runner, c, windows, wide);
    else
        products(runner, c, windows, wide);
    if (c->activation.kind == ELSTM_S16_LINEAR && c->activation.doublings == 0) return;
    for (uint32_t k = 0; k < windows->windows * windows->streams; ++k)
        elstm_activate_s16(runner->kernels, &c->activation,
                           (int16_t *)(void *)(windows->y + k * windows->y_row), c->shape.units);
}

static void step(elstm_runner *runner, const elstm_op *op) {
    elstm_windows_step(runner, op, &op->as.conv1d_s8.shape.window, compute);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    elstm_windows_run(runner, op, &op->as.conv1d_s8.shape.window, compute);
}

const elstm_layer elstm_layer_conv1d_s8 = {.kind = ELSTM_KIND_CONV1D_S8,
                                           .decode = decode,
                                           .check = check,
                                           .time = when,
                                           .sizes = sizes,
                                           .prepare = prepare,
                                           .step = step,
                                           .run = run};
