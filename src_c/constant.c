/* Constant: a row of the image's own, whatever is read. */
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io, elstm_type type) {
    if (io->out[0].type != type) return 0;
    op->as.constant = elstm_read_array(reader, io->out[0].width, elstm_value_size(type), 16);
    return !reader->failed;
}

static int decode_f32(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    return decode(reader, op, io, ELSTM_F32);
}

static int decode_s8(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    return decode(reader, op, io, ELSTM_S16);
}

static int decode_tfl8(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    return io->out[0].type != ELSTM_F32 && decode(reader, op, io, io->out[0].type);
}

static int check_f32(const elstm_op *op, const elstm_io *io) {
    return elstm_values_f32_hold(op->as.constant, io->out[0].width, io->out[0].width);
}

static int time(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    (void)op, (void)io;
    time->single = ELSTM_CONSTANT;
    time->clock = 0;
    return 1;
}

/* Nothing else writes the tensor, so its rows are made once. */
static void prepare(const elstm_runner *runner, elstm_op *op) {
    const elstm_tensor *out = &runner->tensors[op->out];
    for (uint32_t stream = 0; stream < runner->limits.streams; ++stream)
        memcpy((unsigned char *)out->data + stream * out->row, op->as.constant,
               out->width * elstm_value_size(out->type));
}

static void made(elstm_runner *runner, const elstm_op *op) { (void)runner, (void)op; }

const elstm_layer elstm_layer_constant_f32 = {.kind = ELSTM_KIND_CONSTANT_F32,
                                              .decode = decode_f32,
                                              .check = check_f32,
                                              .time = time,
                                              .prepare = prepare,
                                              .step = made,
                                              .run = made};
const elstm_layer elstm_layer_constant_s8 = {.kind = ELSTM_KIND_CONSTANT_S8,
                                             .decode = decode_s8,
                                             .time = time,
                                             .prepare = prepare,
                                             .step = made,
                                             .run = made};
const elstm_layer elstm_layer_constant_tfl8 = {.kind = ELSTM_KIND_CONSTANT_TFL8,
                                               .decode = decode_tfl8,
                                               .time = time,
                                               .prepare = prepare,
                                               .step = made,
                                               .run = made};
