/* What Reduce has in common in both number types: the walk over the rows. A stream's state is a
 * count of the rows that count, then what they came to. */
#include "op.h"

#include <string.h>

int elstm_read_reduce(elstm_reader *reader, elstm_reduce *reduce, const elstm_io *io) {
    reduce->kind = elstm_read_u32(reader);
    reduce->masked = elstm_read_u32(reader);
    reduce->period = elstm_read_u32(reader);
    return !reader->failed && reduce->kind < ELSTM_REDUCTIONS && reduce->masked <= 1 &&
           reduce->period <= 65536 && io->reads == 1 + reduce->masked &&
           !(reduce->masked && (reduce->kind == ELSTM_MAX || reduce->period)) &&
           (!reduce->masked || io->in[1].width == 1) && io->in[0].width == io->out[0].width;
}

int elstm_reduce_time(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    const elstm_reduce *r = &op->as.reduce;
    for (uint32_t k = 0; k < io->reads; ++k) {
        if (io->in[k].single != ELSTM_SEQUENCE) return 0;
        time->together |= 1u << k;
    }
    if (r->period == 0) {
        time->single = ELSTM_SINGLE;
        return 1;
    }
    elstm_time_change(time, ELSTM_CLOCK_GROUP, r->period, 0);
    time->multiple = r->period;
    return 1;
}

/* Whether row k counts. */
static int counts(const elstm_runner *runner, const elstm_op *op, uint32_t k) {
    if (!op->as.reduce.masked) return 1;
    const elstm_tensor *mask = &runner->tensors[op->reads[1]];
    const unsigned char *row = (const unsigned char *)mask->data + k * mask->row;
    if (mask->type == ELSTM_F32) {
        uint32_t bits;
        memcpy(&bits, row, sizeof bits);
        return bits << 1 != 0; /* neither 0 nor -0 */
    }
    return row[0] != 0 || (mask->type == ELSTM_S16 && row[1] != 0);
}

static elstm_reduced *state_of(const elstm_runner *runner, const elstm_op *op, uint32_t stream) {
    return (elstm_reduced *)(void *)(runner->state + op->state_offset +
                                     (size_t)runner->model->state_size * stream);
}

void elstm_reduce_rows(elstm_runner *runner, const elstm_op *op, uint32_t rows, int every,
                       const elstm_reduction *reduction) {
    const elstm_reduce *r = &op->as.reduce;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t streams = runner->limits.streams;
    unsigned char *y = out->data;
    for (uint32_t k = 0; k < rows; ++k) {
        elstm_reduced *state = state_of(runner, op, k % streams);
        if (counts(runner, op, k) && state->count < INT32_MAX) {
            reduction->add(r, state, (const unsigned char *)in->data + k * in->row, in);
            ++state->count;
        }
        if (r->period ? state->count < r->period : !every) continue;
        reduction->answer(r, state, y, in);
        y += out->row;
        if (r->period) memset(state, 0, (size_t)reduction->state(r, in->width));
    }
    if (r->period || every || out->rows == 0) return;
    for (uint32_t stream = 0; stream < streams; ++stream, y += out->row)
        reduction->answer(r, state_of(runner, op, stream), y, in);
}
