/* TFLite's CONV_2D and DEPTHWISE_CONV_2D over steps, in int8. Equations: docs/numerics.md, "tfl8".
 */
#include "fixedpoint.h"
#include "op.h"

#include <string.h>

#define TOGETHER 8u /* windows gathered for one product */

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    elstm_conv1d_tfl8 *c = &op->as.conv1d_tfl8;
    elstm_conv1d *shape = &c->shape;
    if (!elstm_read_conv1d(reader, shape, io)) return 0;
    c->rounding = elstm_read_u8(reader);
    c->low = (int8_t)elstm_read_u8(reader);
    c->high = (int8_t)elstm_read_u8(reader);
    elstm_read_zeros(reader, 1);
    c->zero = io->out[0].zero;
    if (reader->failed || io->in[0].type != ELSTM_S8 || io->out[0].type != ELSTM_S8 ||
        c->rounding >= ELSTM_ROUNDINGS || c->low > c->high ||
        (shape->groups > 1 && shape->columns > 1))
        return 0;
    const uint64_t rows = elstm_conv1d_rows(shape);
    const uint64_t quads = ((uint64_t)shape->taps * shape->columns + 3) / 4;
    if (quads > UINT32_MAX / 4) return 0;
    c->weights =
        elstm_read_array(reader, rows * (shape->depthwise ? shape->taps : 4 * quads), 1, 64);
    c->rescale.bias = elstm_read_array(reader, rows, sizeof(int32_t), 16);
    c->multiplier = elstm_read_array(reader, rows, sizeof(int32_t), 16);
    c->shift = elstm_read_array(reader, rows, 1, 16);
    return !reader->failed;
}

/* Rows of one group's matrix. */
static uint32_t group_rows(const elstm_conv1d *shape) {
    return elstm_groups(shape->units / shape->groups) * ELSTM_GROUP;
}

static elstm_matrix_s8 matrix(const elstm_conv1d_tfl8 *c, uint32_t group) {
    const elstm_conv1d *shape = &c->shape;
    const uint32_t rows = group_rows(shape), quads = (shape->taps * shape->columns + 3) / 4;
    const size_t at = (size_t)group * rows;
    return (elstm_matrix_s8){c->weights + at * quads * 4,
                             c->surplus == NULL ? NULL : c->surplus + at, rows / ELSTM_GROUP, 1,
                             quads};
}

static elstm_factor factor(const elstm_conv1d_tfl8 *c, size_t row) {
    return (elstm_factor){c->multiplier[row], c->shift[row]};
}

static int check_depthwise(const elstm_conv1d_tfl8 *c) {
    const elstm_conv1d *shape = &c->shape;
    const uint32_t padded = (uint32_t)elstm_conv1d_rows(shape);
    for (uint32_t row = 0; row < padded; ++row) {
        int64_t sum = 0;
        for (uint32_t tap = 0; tap < shape->taps; ++tap) {
            const int32_t w = c->weights[(size_t)tap * padded + row];
            if (w == -128) return 0;
            sum += w < 0 ? -w : w;
        }
        const int64_t bias = c->rescale.bias[row], most = bias < 0 ? -bias : bias;
        if (128 * sum + most >= (int64_t)1 << 30) return 0;
        if (row >= shape->units && (sum != 0 || most != 0)) return 0;
    }
    return 1;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_conv1d_tfl8 *c = &op->as.conv1d_tfl8;
    const elstm_conv1d *shape = &c->shape;
    const uint32_t parts = shape->depthwise ? 1 : shape->groups, units = shape->units / parts;
    const uint32_t padded = (uint32_t)(elstm_conv1d_rows(shape) / parts);
    (void)io;
    for (uint32_t row = 0; row < padded * parts; ++row) {
        const elstm_factor f = factor(c, row);
        if (!elstm_factor_holds(f) || (row % padded >= units && f.m != 0)) return 0;
    }
    if (shape->depthwise) return check_depthwise(c);
    for (uint32_t group = 0; group < parts; ++group) {
        const elstm_matrix_s8 w = matrix(c, group);
        if (!elstm_sums_tfl8_hold(&w, c->rescale.bias + (size_t)group * padded, units,
                                  shape->taps * shape->columns))
            return 0;
    }
    return 1;
}

static int when(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    return elstm_window_time(&op->as.conv1d_tfl8.shape.window, io, time);
}

static uint64_t aligned(uint64_t bytes) { return (bytes + 63) / 64 * 64; }

/* Scratch: windows, then sums. */
static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const elstm_conv1d *shape = &op->as.conv1d_tfl8.shape;
    const uint64_t most = (uint64_t)io->out[0].rows * streams, rows = group_rows(shape);
    const uint64_t together = most < TOGETHER ? most : TOGETHER;
    const uint64_t quads = ((uint64_t)shape->taps * shape->columns + 3) / 4;
    sizes->state = elstm_windows_state(&shape->window, &io->in[0]);
    if (shape->depthwise) {
        sizes->scratch = elstm_conv1d_rows(shape) * sizeof(int32_t);
        return;
    }
    sizes->prepared =
        (kernels->prepare_s8 == NULL ? 0 : elstm_conv1d_rows(shape) * sizeof(int32_t)) + rows;
    sizes->scratch = aligned(together * quads * 4) + together * rows * sizeof(int32_t);
}

static void prepare(const elstm_runner *runner, elstm_op *op) {
    elstm_conv1d_tfl8 *c = &op->as.conv1d_tfl8;
    int32_t *at = op->prepared;
    if (c->shape.depthwise) return;
    if (runner->kernels->prepare_s8 != NULL) {
        for (uint32_t group = 0; group < c->shape.groups; ++group) {
            elstm_matrix_s8 w = matrix(c, group);
            at = elstm_prepare_s8(runner->kernels, &w, at);
        }
        c->surplus = op->prepared;
    }
    c->rescale.shift = (const int8_t *)at; /* zeros, as all of a fresh arena */
}

/* The sums of `count` units from `unit` on, whose factors start at `row`. */
static void answer(const elstm_conv1d_tfl8 *c, const int32_t *acc, size_t row, uint32_t unit,
                   uint32_t count, int8_t *y) {
    const uint32_t whole = c->shape.units / ELSTM_GROUP * ELSTM_GROUP;
    for (uint32_t j = 0; j < count; ++j) {
        uint32_t rounding = c->rounding;
        if (rounding == ELSTM_ROUND_EIGHTS)
            rounding = unit + j < whole ? ELSTM_ROUND_HALFUP : ELSTM_ROUND_DOUBLE;
        const int64_t v =
            (int64_t)elstm_scaled_tfl8(acc[j], factor(c, row + j), rounding) + c->zero;
        y[unit + j] = (int8_t)(v < c->low ? c->low : v > c->high ? c->high : v);
    }
}

/* One number a tap and value. */
static void depthwise(const elstm_runner *runner, const elstm_conv1d_tfl8 *c,
                      const elstm_windows *windows) {
    const elstm_conv1d *shape = &c->shape;
    const uint32_t padded = (uint32_t)elstm_conv1d_rows(shape), streams = windows->streams;
    int32_t *acc = runner->scratch;
    for (uint32_t k = 0; k < windows->windows * streams; ++k) {
        const int64_t start = windows->start + (int64_t)(k / streams) * shape->window.stride;
        memcpy(acc, c->rescale.bias, padded * sizeof *acc);
        for (uint32_t tap = 0; tap < shape->taps; ++tap) {
            const int8_t *x =
                elstm_windows_row(windows, k % streams, start + (int64_t)tap * shape->dilation);
            const int8_t *w = c->weights + (size_t)tap * padded;
            for (uint32_t u = 0; u < shape->units; ++u)
                acc[u] += w[u] * (x == NULL ? windows->fill : x[u]);
        }
        answer(c, acc, 0, 0, shape->units, (int8_t *)windows->y + k * windows->y_row);
    }
}

static void products(const elstm_runner *runner, const elstm_conv1d_tfl8 *c,
                     const elstm_windows *windows) {
    const elstm_conv1d *shape = &c->shape;
    const uint32_t units = shape->units / shape->groups, padded = group_rows(shape);
    const uint32_t all = windows->windows * windows->streams;
    const uint32_t together = all < TOGETHER ? all : TOGETHER;
    const size_t window = (shape->taps * (size_t)shape->columns + 3) / 4 * 4;
    unsigned char *x = runner->scratch;
    int32_t *acc = (int32_t *)(void *)(x + aligned(together * window));
    for (uint32_t k = 0, count; k < all; k += count) {
        count = all - k < together ? all - k : together;
        for (uint32_t group = 0; group < shape->groups; ++group) {
            const elstm_matrix_s8 w = matrix(c, group);
            const size_t at = (size_t)group * padded;
            const elstm_rescale rescale = {c->rescale.shift, c->rescale.bias + at};
            elstm_windows_gather(windows, shape, k, group, count, x, window);
            runner->kernels->matmul_s8(&w, &rescale, (const int8_t *)x, window, acc, count);
            for (uint32_t j = 0; j < count; ++j)
                answer(c, acc + (size_t)j * padded, at, group * units, units,
                       (int8_t *)windows->y + (k + j) * windows->y_row);
        }
    }
}

static void compute(elstm_runner *runner, const elstm_op *op, const elstm_windows *windows) {
    const elstm_conv1d_tfl8 *c = &op->as.conv1d_tfl8;
    if (c->shape.depthwise)
        depthwise(runner, c, windows);
    else
        products(runner, c, windows);
}

static void step(elstm_runner *runner, const elstm_op *op) {
    elstm_windows_step(runner, op, &op->as.conv1d_tfl8.shape.window, compute);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    elstm_windows_run(runner, op, &op->as.conv1d_tfl8.shape.window, compute);
}

const elstm_layer elstm_layer_conv1d_tfl8 = {.kind = ELSTM_KIND_CONV1D_TFL8,
                                             .decode = decode,
                                             .check = check,
                                             .time = when,
                                             .sizes = sizes,
                                             .prepare = prepare,
                                             .step = step,
                                             .run = run};
