/* TFLite's FULLY_CONNECTED in int8. Equations: docs/numerics.md, "tfl8". */
#include "fixedpoint.h"
#include "op.h"

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    elstm_dense_tfl8 *d = &op->as.dense_tfl8;
    d->units = elstm_read_u32(reader);
    const uint32_t inputs = elstm_read_u32(reader);
    d->rounding = elstm_read_u8(reader);
    d->low = (int8_t)elstm_read_u8(reader);
    d->high = (int8_t)elstm_read_u8(reader);
    elstm_read_zeros(reader, 1);
    d->zero = out->zero;
    if (reader->failed || in->type != ELSTM_S8 || out->type != ELSTM_S8 || in->width != inputs ||
        out->width != d->units || d->rounding >= ELSTM_ROUND_EIGHTS || d->low > d->high)
        return 0;
    const uint32_t groups = elstm_groups(d->units), quads = (inputs + 3) / 4;
    const uint64_t rows = (uint64_t)groups * ELSTM_GROUP;
    d->kernel = (elstm_matrix_s8){elstm_read_array(reader, rows * quads * 4, 1, 64), NULL, groups,
                                  1, quads};
    d->rescale.bias = elstm_read_array(reader, rows, sizeof(int32_t), 16);
    d->multiplier = elstm_read_array(reader, rows, sizeof(int32_t), 16);
    d->shift = elstm_read_array(reader, rows, 1, 16);
    return !reader->failed;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_dense_tfl8 *d = &op->as.dense_tfl8;
    for (uint32_t row = 0; row < elstm_rows_s8(&d->kernel); ++row) {
        const elstm_factor f = {d->multiplier[row], d->shift[row]};
        if (!elstm_factor_holds(f) || (row >= d->units && f.m != 0)) return 0;
    }
    return elstm_sums_tfl8_hold(&d->kernel, d->rescale.bias, d->units, io->in[0].width);
}

static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const uint64_t rows = elstm_rows_s8(&op->as.dense_tfl8.kernel);
    const uint64_t block = io->in[0].rows < ELSTM_BLOCK_STEPS ? io->in[0].rows : ELSTM_BLOCK_STEPS;
    (void)streams;
    sizes->prepared = (kernels->prepare_s8 == NULL ? 0 : rows * sizeof(int32_t)) + rows;
    sizes->scratch = block * rows * sizeof(int32_t);
}

static void prepare(const elstm_runner *runner, elstm_op *op) {
    elstm_dense_tfl8 *d = &op->as.dense_tfl8;
    int32_t *at = elstm_prepare_s8(runner->kernels, &d->kernel, op->prepared);
    d->rescale.shift = (const int8_t *)at; /* zeros, as all of a fresh arena */
}

/* `rounding` is a constant where this is called, so that no loop asks for it. */
static inline void answers(const elstm_dense_tfl8 *d, const int32_t *acc, uint32_t rounding,
                           int8_t *y) {
    for (uint32_t j = 0; j < d->units; ++j) {
        const elstm_factor f = {d->multiplier[j], d->shift[j]};
        const int64_t v = (int64_t)elstm_scaled_tfl8(acc[j], f, rounding) + d->zero;
        y[j] = (int8_t)(v < d->low ? d->low : v > d->high ? d->high : v);
    }
}

static void rows(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_dense_tfl8 *d = &op->as.dense_tfl8;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t padded = elstm_rows_s8(&d->kernel);
    for (uint32_t at = 0; at < count; at += ELSTM_BLOCK_STEPS) {
        const uint32_t block = count - at < ELSTM_BLOCK_STEPS ? count - at : ELSTM_BLOCK_STEPS;
        const int32_t *acc = runner->scratch;
        runner->kernels->matmul_s8(&d->kernel, &d->rescale,
                                   (const int8_t *)in->data + (size_t)at * in->stride, in->stride,
                                   runner->scratch, block);
        for (uint32_t k = at; k < at + block; ++k, acc += padded) {
            int8_t *y = (int8_t *)out->data + (size_t)k * out->stride;
            switch (d->rounding) {
            case ELSTM_ROUND_DOUBLE: answers(d, acc, ELSTM_ROUND_DOUBLE, y); break;
            case ELSTM_ROUND_SINGLE: answers(d, acc, ELSTM_ROUND_SINGLE, y); break;
            case ELSTM_ROUND_HALFUP: answers(d, acc, ELSTM_ROUND_HALFUP, y); break;
            default: answers(d, acc, ELSTM_ROUND_FLOAT, y);
            }
        }
    }
}

static void step(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->limits.streams);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    rows(runner, op, runner->tensors[op->in].rows);
}

const elstm_layer elstm_layer_dense_tfl8 = {
    .kind = ELSTM_KIND_DENSE_TFL8,
    .decode = decode,
    .check = check,
    .sizes = sizes,
    .prepare = prepare,
    .step = step,
    .run = run,
};
