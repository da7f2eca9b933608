/* The last step of a sequence; every step when each is asked for. Where each step has a row it
 * copies nothing: the tensor written is a view. With a period the last row of each. */
#include "op.h"

#include <string.h>

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    op->as.last.period = elstm_read_own_period(reader);
    return elstm_alike(&io->in[0], &io->out[0]) && io->in[0].width == io->out[0].width;
}

static int timing(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    if (op->as.last.period != 0) {
        time->multiple = op->as.last.period;
        elstm_time_change(time, ELSTM_CLOCK_GROUP, op->as.last.period, 0);
        return elstm_time_sequence(io, time);
    }
    if (time->single == ELSTM_SEQUENCE) time->single = ELSTM_SINGLE;
    return 1;
}

static void prepare(const elstm_runner *runner, elstm_op *op) {
    op->as.last.kept = runner->tensors[op->out].data;
}

/* A period's last row is at hand when it is complete. */
static void run_periods(const elstm_tensor *in, elstm_tensor *out, uint32_t period) {
    if (period == 1) out->data = in->data;
    for (uint32_t k = 0; k < out->rows && period > 1; ++k) {
        const uint64_t row = (out->first + k + 1) * period - 1 - in->first;
        memcpy((unsigned char *)out->data + k * out->row,
               (const unsigned char *)in->data + row * in->row, in->row);
    }
}

static void step(elstm_runner *runner, const elstm_op *op) {
    runner->tensors[op->out].data = runner->tensors[op->in].data;
}

static void run(elstm_runner *runner, const elstm_op *op) {
    const elstm_tensor *in = &runner->tensors[op->in];
    elstm_tensor *out = &runner->tensors[op->out];
    if (op->as.last.period != 0) {
        run_periods(in, out, op->as.last.period);
        return;
    }
    const uint32_t last = in->rows == 0 ? 0 : in->rows - runner->limits.streams;
    unsigned char *row = (unsigned char *)in->data + last * in->row;
    if (runner->every || in->single) {
        out->data = in->data;
    } else if (runner->even) {
        out->data = row;
    } else { /* the last row may have come in an earlier chunk */
        out->data = op->as.last.kept;
        if (in->rows != 0) memcpy(out->data, row, in->row);
    }
}

const elstm_layer elstm_layer_last = {
    .kind = ELSTM_KIND_LAST,
    .decode = decode,
    .time = timing,
    .prepare = prepare,
    .step = step,
    .run = run,
};
