/* Embedding: rows of a table by number. In s8 the table is int16, in tfl8 int8, and ids are
 * integers of scale 1. */
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io, elstm_type type,
                  uint32_t size) {
    elstm_embedding *e = &op->as.embedding;
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    e->vocabulary = elstm_read_u32(reader);
    e->columns = elstm_read_u32(reader);
    if (reader->failed || out->type != type || e->vocabulary < 1 ||
        (uint64_t)in->width * e->columns != out->width)
        return 0;
    e->table = elstm_read_array(reader, (uint64_t)e->vocabulary * e->columns, size, 64);
    return !reader->failed;
}

static int decode_s8(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    return io->in[0].type == ELSTM_S16 && decode(reader, op, io, ELSTM_S16, sizeof(int16_t)) &&
           op->as.embedding.vocabulary <= 32768;
}

static int decode_tfl8(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    return io->in[0].type == ELSTM_S16 && decode(reader, op, io, ELSTM_S8, 1) &&
           op->as.embedding.vocabulary <= 32768;
}

/* Of int8 and int16 alike. */
static void rows_s8(const elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_embedding *e = &op->as.embedding;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const int32_t last = (int32_t)e->vocabulary - 1;
    const size_t size = (size_t)e->columns * elstm_value_size(out->type);
    for (uint32_t k = 0; k < count; ++k) {
        const int16_t *x = (const int16_t *)in->data + (size_t)k * in->stride;
        unsigned char *y = (unsigned char *)out->data + (size_t)k * out->row;
        for (uint32_t j = 0; j < in->width; ++j, y += size) {
            const int32_t id = x[j] > last ? last : x[j] > 0 ? x[j] : 0;
            memcpy(y, (const unsigned char *)e->table + (size_t)id * size, size);
        }
    }
}

static void step_s8(elstm_runner *runner, const elstm_op *op) {
    rows_s8(runner, op, runner->limits.streams);
}

static void run_s8(elstm_runner *runner, const elstm_op *op) {
    rows_s8(runner, op, runner->tensors[op->in].rows);
}

const elstm_layer elstm_layer_embedding_s8 = {
    .kind = ELSTM_KIND_EMBEDDING_S8, .decode = decode_s8, .step = step_s8, .run = run_s8};
const elstm_layer elstm_layer_embedding_tfl8 = {
    .kind = ELSTM_KIND_EMBEDDING_TFL8, .decode = decode_tfl8, .step = step_s8, .run = run_s8};

#if ELSTM_LINKS_F32

static int decode_f32(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    return io->in[0].type == ELSTM_F32 && decode(reader, op, io, ELSTM_F32, sizeof(float));
}

static int check_f32(const elstm_op *op, const elstm_io *io) {
    const elstm_embedding *e = &op->as.embedding;
    const float *table = e->table;
    (void)io;
    for (uint32_t row = 0; row < e->vocabulary; ++row)
        if (!elstm_values_f32_hold(table + (size_t)row * e->columns, e->columns, e->columns))
            return 0;
    return 1;
}

static void rows_f32(const elstm_runner *runner, const elstm_op *op, uint32_t count) {
    const elstm_embedding *e = &op->as.embedding;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const float last = (float)(e->vocabulary - 1);
    for (uint32_t k = 0; k < count; ++k) {
        const float *x = (const float *)in->data + (size_t)k * in->stride;
        float *y = (float *)out->data + (size_t)k * out->stride;
        for (uint32_t j = 0; j < in->width; ++j, y += e->columns) {
            const uint32_t id = x[j] >= last ? e->vocabulary - 1 : x[j] > 0 ? (uint32_t)x[j] : 0;
            memcpy(y, (const float *)e->table + (size_t)id * e->columns, e->columns * sizeof *y);
        }
    }
}

static void step_f32(elstm_runner *runner, const elstm_op *op) {
    rows_f32(runner, op, runner->limits.streams);
}

static void run_f32(elstm_runner *runner, const elstm_op *op) {
    rows_f32(runner, op, runner->tensors[op->in].rows);
}

const elstm_layer elstm_layer_embedding_f32 = {.kind = ELSTM_KIND_EMBEDDING_F32,
                                               .decode = decode_f32,
                                               .check = check_f32,
                                               .step = step_f32,
                                               .run = run_f32};

#endif
