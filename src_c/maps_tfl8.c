/* TFLite's int8 operators of single values and of a row: SOFTMAX, LOGISTIC and all other functions
 * as tables, QUANTIZE, DEQUANTIZE, CONCATENATION. Equations: docs/numerics.md, "tfl8". */
#include "fixedpoint.h"
#include "op.h"

#include <string.h>

/* ---- a function of an int8 ---- */

static int decode_map(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    op->as.map_tfl8 = elstm_read_array(reader, 256, 1, 16);
    return io->in[0].type == ELSTM_S8 && io->out[0].type == ELSTM_S8 &&
           io->in[0].width == io->out[0].width;
}

static void rows_map(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const int8_t *table = op->as.map_tfl8 + 128;
    for (uint32_t k = 0; k < count; ++k) {
        const int8_t *x = (const int8_t *)in->data + (size_t)k * in->stride;
        int8_t *y = (int8_t *)out->data + (size_t)k * out->stride;
        for (uint32_t j = 0; j < in->width; ++j) y[j] = table[x[j]];
    }
}

/* ---- softmax ---- */

#define MOST_SOFTMAX 4095u /* values of a row: their sum stays below 2^31 */

static int decode_softmax(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    op->as.softmax_tfl8 = elstm_read_array(reader, 256, sizeof(int32_t), 16);
    return io->in[0].type == ELSTM_S8 && io->out[0].type == ELSTM_S8 &&
           io->in[0].width == io->out[0].width && io->in[0].width <= MOST_SOFTMAX;
}

static int check_softmax(const elstm_op *op, const elstm_io *io) {
    const int32_t *e = op->as.softmax_tfl8;
    (void)io;
    for (uint32_t k = 0; k < 256; ++k)
        if (e[k] < 0) return 0;
    return e[0] == INT32_MAX;
}

static int32_t saturate(int64_t v) {
    return v < INT32_MIN ? INT32_MIN : v > INT32_MAX ? INT32_MAX : (int32_t)v;
}

static int32_t mul(int32_t a, int32_t b) { /* of Q0.31, rounded half up */
    return saturate(((int64_t)a * b + (1 << 30)) >> 31);
}

/* 1 / (1 + a) of a Q0.31, 0 <= a; Q0.31. */
static int32_t one_over(int32_t a) {
    const int32_t half = (int32_t)(((int64_t)a + INT32_MAX + 1) >> 1);
    int32_t x = 1515870810 + mul(half, -1010580540); /* 48/17 - 32/17 half, Q2.29 */
    for (int k = 0; k < 3; ++k)
        x = saturate(x + (int64_t)saturate(4 * (int64_t)mul(x, (1 << 29) - mul(half, x))));
    return saturate(2 * (int64_t)x);
}

static void softmax(const int32_t *e, const int8_t *x, int8_t *y, uint32_t count) {
    int32_t most = -128;
    uint32_t sum = 0, zeros = 0;
    for (uint32_t j = 0; j < count; ++j) most = x[j] > most ? x[j] : most;
    for (uint32_t j = 0; j < count; ++j) sum += (uint32_t)elstm_divide(e[most - x[j]], 12);
    while (sum >> (31 - zeros) == 0) ++zeros; /* the largest alone is 2^19 */
    const int32_t one = one_over((int32_t)((sum << zeros) - 0x80000000u));
    for (uint32_t j = 0; j < count; ++j) {
        const int64_t share = mul(one, e[most - x[j]]);
        const int64_t v = ((share + ((int64_t)1 << (34 - zeros))) >> (35 - zeros)) - 128;
        y[j] = (int8_t)(v > 127 ? 127 : v);
    }
}

static void rows_softmax(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    for (uint32_t k = 0; k < count; ++k)
        softmax(op->as.softmax_tfl8, (const int8_t *)in->data + (size_t)k * in->stride,
                (int8_t *)out->data + (size_t)k * out->stride, in->width);
}

/* ---- between floats and integers ---- */

static int decode_quantize(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    op->as.ties_tfl8 = elstm_read_u32(reader);
    return in->type == ELSTM_F32 && out->type != ELSTM_F32 && in->width == out->width &&
           op->as.ties_tfl8 < ELSTM_TIES;
}

static void rows_quantize(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    for (uint32_t k = 0; k < count; ++k) {
        const float *x = (const float *)in->data + (size_t)k * in->stride;
        const size_t at = (size_t)k * out->stride;
        for (uint32_t j = 0; j < in->width; ++j) {
            const int32_t v = elstm_quantize_tfl8(x[j], out, op->as.ties_tfl8);
            if (out->type == ELSTM_S8)
                ((int8_t *)out->data)[at + j] = (int8_t)v;
            else
                ((int16_t *)out->data)[at + j] = (int16_t)v;
        }
    }
}

static int decode_dequantize(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    (void)reader, (void)op;
    return io->in[0].type != ELSTM_F32 && io->out[0].type == ELSTM_F32 &&
           io->in[0].width == io->out[0].width;
}

static void rows_dequantize(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    for (uint32_t k = 0; k < count; ++k)
        elstm_dequantize_tfl8(in, k, (float *)out->data + (size_t)k * out->stride);
}

/* ---- bytes side by side ---- */

static int decode_concatenate(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    uint64_t width = 0;
    (void)reader, (void)op;
    for (uint32_t k = 0; k < io->reads; ++k) {
        width += io->in[k].width;
        if (!elstm_alike(&io->in[k], &io->out[0])) return 0;
    }
    return io->out[0].type == ELSTM_S8 && width == io->out[0].width;
}

static int time_concatenate(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    (void)op;
    return elstm_time_join(io, time);
}

static void rows_concatenate(elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_tensor *out = &runner->tensors[op->out];
    for (uint32_t k = 0; k < count; ++k) {
        int8_t *y = (int8_t *)out->data + (size_t)k * out->stride;
        for (uint32_t j = 0; j < op->read_count; ++j) {
            const elstm_tensor *in = &runner->tensors[op->reads[j]];
            memcpy(y, elstm_combined_row(runner, in, k), in->width);
            y += in->width;
        }
    }
}

/* ---- steps and runs ---- */

typedef void worker(elstm_runner *runner, const elstm_op *op, uint32_t count);

static worker *worker_of(const elstm_op *op) {
    switch (op->layer->kind) {
    case ELSTM_KIND_SOFTMAX_TFL8: return rows_softmax;
    case ELSTM_KIND_MAP_TFL8: return rows_map;
    case ELSTM_KIND_QUANTIZE_TFL8: return rows_quantize;
    case ELSTM_KIND_DEQUANTIZE_TFL8: return rows_dequantize;
    default: return rows_concatenate;
    }
}

static void step(elstm_runner *runner, const elstm_op *op) {
    worker_of(op)(runner, op, runner->limits.streams);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    worker_of(op)(runner, op, runner->tensors[op->out].rows);
}

const elstm_layer elstm_layer_softmax_tfl8 = {.kind = ELSTM_KIND_SOFTMAX_TFL8,
                                              .decode = decode_softmax,
                                              .check = check_softmax,
                                              .step = step,
                                              .run = run};
const elstm_layer elstm_layer_map_tfl8 = {
    .kind = ELSTM_KIND_MAP_TFL8, .decode = decode_map, .step = step, .run = run};
const elstm_layer elstm_layer_quantize_tfl8 = {
    .kind = ELSTM_KIND_QUANTIZE_TFL8, .decode = decode_quantize, .step = step, .run = run};
const elstm_layer elstm_layer_dequantize_tfl8 = {
    .kind = ELSTM_KIND_DEQUANTIZE_TFL8, .decode = decode_dequantize, .step = step, .run = run};
const elstm_layer elstm_layer_concatenate_tfl8 = {.kind = ELSTM_KIND_CONCATENATE_TFL8,
                                                  .most_reads = ELSTM_MAX_READS,
                                                  .decode = decode_concatenate,
                                                  .time = time_concatenate,
                                                  .step = step,
                                                  .run = run};
