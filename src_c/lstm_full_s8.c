/* LSTM with options in s8: masks, states to start from, c written too, a cell function of its own,
 * clips, peepholes, coupled gates, a projection. Equations: docs/numerics.md. */
#include "fixedpoint.h"
#include "op.h"

#include <string.h>

static int is_plain(const elstm_lstm_full_s8 *l) {
    return l->gate.kind == ELSTM_S16_SIGMOID && l->candidate.kind == ELSTM_S16_TANH &&
           l->cell.kind == ELSTM_S16_TANH && l->gate.doublings == 0 &&
           l->candidate.doublings == 0 && l->gate_exponent == 0 && l->cell_limit == 32767 &&
           l->gate_limit == 32767 && l->candidate_limit == 32767 &&
           !(l->gaps.options & (ELSTM_COUPLED | ELSTM_PEEPHOLE | ELSTM_PROJECTION));
}

static int in_range(int32_t v) { return v >= 1 && v <= 32767; }

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    elstm_lstm_full_s8 *l = &op->as.lstm_full_s8;
    l->units = elstm_read_u32(reader);
    const uint32_t inputs = elstm_read_u32(reader);
    l->outputs = elstm_read_u32(reader);
    l->gate = elstm_read_activation_s16(reader);
    l->candidate = elstm_read_activation_s16(reader);
    l->cell = elstm_read_activation_s16(reader);
    l->gate_exponent = elstm_read_u16(reader);
    l->cell_multiplier = (int32_t)elstm_read_u16(reader);
    l->cell_limit = (int32_t)elstm_read_u16(reader);
    l->hidden_multiplier = (int32_t)elstm_read_u16(reader);
    l->gate_limit = (int32_t)elstm_read_u16(reader);
    l->candidate_limit = (int32_t)elstm_read_u16(reader);
    l->gaps.options = elstm_read_u16(reader);
    elstm_skip_scale(reader); /* of c */
    const uint32_t options = l->gaps.options;
    const uint32_t known = ELSTM_MASKED | ELSTM_INITIAL | ELSTM_COUPLED | ELSTM_PEEPHOLE |
                           ELSTM_PROJECTION | ELSTM_PERIOD;
    if (reader->failed || options & ~known) return 0;
    if (options & ELSTM_INITIAL) {
        l->start_h = elstm_read_start_s8(reader);
        l->start_c = elstm_read_start_s8(reader);
    }
    elstm_read_period(reader, &l->gaps);
    if (reader->failed || (in->type != ELSTM_S8 && in->type != ELSTM_S16) ||
        (out->type != ELSTM_S8 && out->type != ELSTM_S16) || in->width != inputs ||
        out->width != l->outputs || (!(options & ELSTM_PROJECTION) && l->outputs != l->units) ||
        (io->writes == 2 && (io->out[1].type != ELSTM_S16 || io->out[1].width != l->units)) ||
        l->gate.kind == ELSTM_S16_SOFTMAX || l->candidate.kind == ELSTM_S16_SOFTMAX ||
        l->cell.kind == ELSTM_S16_SOFTMAX || l->gate_exponent > 14 ||
        !in_range(l->cell_multiplier) || !in_range(l->cell_limit) ||
        !in_range(l->hidden_multiplier) || !in_range(l->gate_limit) ||
        !in_range(l->candidate_limit) || !elstm_gaps_fit(&l->gaps, io, ELSTM_S16, 2))
        return 0;
    if (options & ELSTM_INITIAL &&
        (io->in[io->reads - 2].width != l->outputs || io->in[io->reads - 1].width != l->units))
        return 0;
    l->type = out->type;
    const uint32_t groups = elstm_groups(l->units);
    const uint32_t quads_x = (inputs + 3) / 4, quads_h = (l->outputs + 3) / 4;
    const uint64_t rows = (uint64_t)groups * 4 * ELSTM_GROUP;
    l->span = elstm_span(l->units);
    l->out_span = elstm_span(l->outputs);
    l->gaps.flags_at = 2 * l->span + l->out_span * (l->type == ELSTM_S8 ? 1 : 2);
    l->kernel = (elstm_matrix_s8){elstm_read_array(reader, rows * quads_x * 4, 1, 64), NULL, groups,
                                  4, quads_x};
    l->recurrent = (elstm_matrix_s8){elstm_read_array(reader, rows * quads_h * 4, 1, 64), NULL,
                                     groups, 4, quads_h};
    elstm_read_rows_s8(reader, elstm_rows_s8(&l->kernel), &l->rescale, &l->requantize);
    if (options & ELSTM_PEEPHOLE) {
        l->peephole = elstm_read_array(reader, (uint64_t)3 * l->span, sizeof(int16_t), 16);
        l->peephole_shift = elstm_read_array(reader, (uint64_t)3 * l->span, 1, 16);
    }
    if (options & ELSTM_PROJECTION) {
        l->projection = elstm_read_blocks_s8(reader, 1, l->outputs, l->units);
        elstm_read_rows_s8(reader, elstm_rows_s8(&l->projection), &l->projected,
                           &l->requantize_projected);
    }
    elstm_read_table(reader, &l->gate);
    elstm_read_table(reader, &l->candidate);
    elstm_read_table(reader, &l->cell);
    l->plain = (uint32_t)is_plain(l);
    return !reader->failed;
}

/* The most that c adds to a row of the sums, whose unit of all is `unit`; -1 where what is stored
 * must not be. */
static int64_t peephole_most(const elstm_lstm_full_s8 *l, uint32_t gate, uint32_t unit) {
    static const uint32_t number[4] = {0, 1, 3, 2}; /* of i f o; g has none */
    if (l->peephole == NULL || number[gate] == 3) return 0;
    const int32_t w = l->peephole[number[gate] * l->span + unit];
    const int32_t kp = l->peephole_shift[number[gate] * l->span + unit];
    if (kp < 0 || kp > 27 || w == -32768 || (unit >= l->units && (w != 0 || kp != 0))) return -1;
    return w == 0 ? 0 : ((int64_t)(w < 0 ? -w : w) * 32768 >> kp) + 1;
}

static int check_projection(const elstm_lstm_full_s8 *l) {
    for (uint32_t row = 0; row < elstm_rows_s8(&l->projection); ++row) {
        const elstm_row_s8 own = {.sum_x = elstm_row_sum_s8(&l->projection, row, l->units),
                                  .bias = l->projected.bias[row],
                                  .kx = l->projected.shift[row],
                                  .s = l->requantize_projected.shift[row],
                                  .m = l->requantize_projected.multiplier[row],
                                  .unused = row >= l->outputs};
        if (!elstm_row_s8_holds(&own, 1, 0)) return 0;
    }
    return 1;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_lstm_full_s8 *l = &op->as.lstm_full_s8;
    const elstm_form *in = &io->in[0];
    const int wide = in->type == ELSTM_S16;
    const int32_t most = l->type == ELSTM_S8 ? 128 : l->hidden_multiplier;
    for (uint32_t row = 0; row < elstm_rows_s8(&l->kernel); ++row) {
        const uint32_t unit = row / (4 * ELSTM_GROUP) * ELSTM_GROUP + row % ELSTM_GROUP;
        const int64_t added = peephole_most(l, row / ELSTM_GROUP % 4, unit);
        const elstm_row_s8 own = {.sum_x = elstm_row_sum_s8(&l->kernel, row, in->width),
                                  .sum_h = elstm_row_sum_s8(&l->recurrent, row, l->outputs),
                                  .added = added,
                                  .bias = l->rescale.bias[row],
                                  .kx = l->rescale.shift[row],
                                  .least = wide && l->type == ELSTM_S8 ? 0 : -4,
                                  .s = l->requantize.shift[row],
                                  .m = l->requantize.multiplier[row],
                                  .unused = unit >= l->units};
        if (added < 0 || !elstm_row_s8_holds(&own, wide, most)) return 0;
    }
    return !(l->gaps.options & ELSTM_PROJECTION) || check_projection(l);
}

static int time(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    return elstm_gaps_time(&op->as.lstm_full_s8.gaps, io, time);
}

/* Rows of the projection. */
static uint64_t projected_rows(const elstm_lstm_full_s8 *l) {
    return l->gaps.options & ELSTM_PROJECTION ? elstm_rows_s8(&l->projection) : 0;
}

/* Scratch: what x gives each step of a block, the projection's sums, p, and the projection as
 * int16. */
static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const elstm_lstm_full_s8 *l = &op->as.lstm_full_s8;
    const uint64_t rows = elstm_rows_s8(&l->kernel), projected = projected_rows(l);
    const uint64_t block = io->in[0].rows < ELSTM_BLOCK_STEPS ? io->in[0].rows : ELSTM_BLOCK_STEPS;
    sizes->state = elstm_gaps_state(&l->gaps, l->gaps.flags_at);
    const uint64_t surplus = kernels->prepare_s8 == NULL ? 0 : 2 * rows + projected;
    const uint64_t cell =
        kernels->prepare_lstm_s8 == NULL ? 0 : elstm_prepared_lstm_size(l->kernel.groups);
    sizes->prepared = (surplus + cell) * sizeof(int32_t);
    sizes->scratch = (block * streams * rows + projected) * sizeof(int32_t) +
                     (l->span + projected) * sizeof(int16_t);
}

static void prepare(const elstm_runner *runner, elstm_op *op) {
    elstm_lstm_full_s8 *l = &op->as.lstm_full_s8;
    const elstm_kernels *kernels = runner->kernels;
    int32_t *at = elstm_prepare_s8(kernels, &l->kernel, op->prepared);
    at = elstm_prepare_s8(kernels, &l->recurrent, at);
    if (l->gaps.options & ELSTM_PROJECTION) at = elstm_prepare_s8(kernels, &l->projection, at);
    if (kernels->prepare_lstm_s8 != NULL)
        kernels->prepare_lstm_s8(&l->requantize, l->kernel.groups, at);
}

/* Of a group's gate, numbered as in i f o; at: its first unit. */
static void peep(const elstm_lstm_full_s8 *l, uint32_t gate, uint32_t at, const int16_t *c,
                 int32_t *acc) {
    if (l->peephole == NULL) return;
    const int16_t *w = l->peephole + gate * l->span + at;
    const int8_t *kp = l->peephole_shift + gate * l->span + at;
    for (uint32_t u = 0; u < ELSTM_GROUP; ++u) acc[u] += (w[u] * c[u]) >> kp[u];
}

static void requantize(const elstm_kernels *kernels, const elstm_lstm_full_s8 *l,
                       const int32_t *acc, uint32_t at, int16_t *z, uint32_t count) {
    const elstm_requantize rows = {l->requantize.shift + at, l->requantize.multiplier + at, NULL,
                                   0};
    kernels->requantize_s8(acc, &rows, z, count);
}

/* acc [groups][4][8], c in place, p = o P(c). */
static void cell(const elstm_kernels *kernels, const elstm_lstm_full_s8 *l, int32_t *acc,
                 int16_t *c, int16_t *p) {
    const uint32_t places = 15 - l->gate_exponent;
    for (uint32_t group = 0; group < l->kernel.groups; ++group, acc += 4 * ELSTM_GROUP) {
        int16_t z[4 * ELSTM_GROUP];
        int32_t f[ELSTM_GROUP];
        const uint32_t at = group * ELSTM_GROUP;
        peep(l, 0, at, c + at, acc);
        peep(l, 1, at, c + at, acc + 8);
        requantize(kernels, l, acc, 4 * at, z, 3 * ELSTM_GROUP);
        elstm_clip_s16(z, l->gate_limit, 2 * ELSTM_GROUP);
        elstm_clip_s16(z + 16, l->candidate_limit, ELSTM_GROUP);
        elstm_activate_s16(kernels, &l->gate, z, 2 * ELSTM_GROUP);
        elstm_activate_s16(kernels, &l->candidate, z + 16, ELSTM_GROUP);
        for (uint32_t u = 0; u < ELSTM_GROUP; ++u) {
            const int32_t rest = (32768 >> l->gate_exponent) - z[u];
            f[u] = l->gaps.options & ELSTM_COUPLED ? (rest < 32768 ? rest : 32768) : z[8 + u];
        }
        for (uint32_t u = 0; u < ELSTM_GROUP; ++u) {
            const int32_t kept = elstm_sat16(elstm_rs(f[u] * c[at + u], places));
            const int32_t added =
                elstm_mh(elstm_sat16(elstm_rs(z[u] * z[16 + u], 15)), l->cell_multiplier);
            int32_t next = elstm_sat16(kept + added);
            if (l->cell_limit < 32767) next = elstm_clamp(next, l->cell_limit);
            p[at + u] = c[at + u] = (int16_t)next;
        }
        peep(l, 2, at, c + at, acc + 24);
        requantize(kernels, l, acc + 24, 4 * at + 24, z + 24, ELSTM_GROUP);
        elstm_clip_s16(z + 24, l->gate_limit, ELSTM_GROUP);
        elstm_activate_s16(kernels, &l->gate, z + 24, ELSTM_GROUP);
        elstm_activate_s16(kernels, &l->cell, p + at, ELSTM_GROUP);
        for (uint32_t u = 0; u < ELSTM_GROUP; ++u)
            p[at + u] = (int16_t)elstm_sat16(elstm_rs(z[24 + u] * p[at + u], 15));
    }
}

/* `steps` steps from row `first` on. A stream's state is c, then h. */
static void block(elstm_runner *runner, const elstm_op *op, uint32_t first, uint32_t steps) {
    const elstm_lstm_full_s8 *l = &op->as.lstm_full_s8;
    const elstm_kernels *kernels = runner->kernels;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t streams = runner->limits.streams;
    const size_t rows = elstm_rows_s8(&l->kernel), size = runner->model->state_size;
    const size_t width = l->type == ELSTM_S8 ? 1 : 2; /* bytes of an h */
    const size_t h_at = 2 * (size_t)l->span;
    unsigned char *state = runner->state + op->state_offset;
    int32_t *acc = runner->scratch, *projected = acc + steps * streams * rows;
    int16_t *p = (int16_t *)(void *)(projected + projected_rows(l)), *z = p + l->span;
    const int32_t most = l->type == ELSTM_S8 ? 127 : l->hidden_multiplier;
    elstm_product_s8(kernels, &l->kernel, &l->rescale, in->type,
                     (const unsigned char *)in->data + first * in->row, in->stride, acc,
                     steps * streams);
    for (uint32_t step = 0; step < steps; ++step) {
        for (uint32_t stream = 0; stream < streams; ++stream) {
            unsigned char *own = state + stream * size;
            const elstm_tensor *from = elstm_gaps_start(runner, op, &l->gaps, own);
            if (from == NULL) continue;
            elstm_start_state_s8(from, stream, l->start_h, most, l->type, own + h_at);
            elstm_start_state_s8(&runner->tensors[op->reads[op->read_count - 1]], stream,
                                 l->start_c, l->cell_limit, ELSTM_S16, own);
        }
        elstm_product_s8(kernels, &l->recurrent, NULL, l->type, state + h_at, size / width, acc,
                         streams);
        for (uint32_t stream = 0; stream < streams; ++stream, acc += rows) {
            unsigned char *own = state + stream * size;
            const size_t row = first + step * streams + stream;
            unsigned char *y = (unsigned char *)out->data + row * out->row;
            int16_t *c = (int16_t *)(void *)own;
            if (elstm_gaps_counts(runner, op, &l->gaps, row)) {
                if (l->plain) {
                    const elstm_cell_s8 served = {c,
                                                  own + h_at,
                                                  y,
                                                  l->type,
                                                  l->cell_multiplier,
                                                  l->hidden_multiplier,
                                                  l->cell.doublings};
                    kernels->lstm_s8(acc, &l->requantize, &served, l->kernel.groups);
                } else {
                    cell(kernels, l, acc, c, p);
                    const int16_t *made = p;
                    if (l->gaps.options & ELSTM_PROJECTION) {
                        kernels->matmul_s16(&l->projection, &l->projected, p, 0, projected, 1);
                        kernels->requantize_s8(projected, &l->requantize_projected, z, l->out_span);
                        made = z;
                    }
                    elstm_hidden_s16(made, l->hidden_multiplier, l->type, own + h_at, l->out_span);
                }
                elstm_gaps_note(&l->gaps, own);
            }
            elstm_gaps_repeat(&l->gaps, own, own + h_at, y, l->out_span * width);
            if (op->write_count == 2)
                memcpy((int16_t *)out[1].data + row * out[1].stride, c, l->span * sizeof *c);
        }
    }
}

static void step(elstm_runner *runner, const elstm_op *op) { block(runner, op, 0, 1); }

static void run(elstm_runner *runner, const elstm_op *op) {
    const uint32_t streams = runner->limits.streams, steps = runner->tensors[op->in].rows / streams;
    for (uint32_t at = 0; at < steps; at += ELSTM_BLOCK_STEPS)
        block(runner, op, at * streams,
              steps - at < ELSTM_BLOCK_STEPS ? steps - at : ELSTM_BLOCK_STEPS);
}

const elstm_layer elstm_layer_lstm_full_s8 = {
    .kind = ELSTM_KIND_LSTM_FULL_S8,
    .most_reads = 4,
    .most_writes = 2,
    .decode = decode,
    .check = check,
    .time = time,
    .sizes = sizes,
    .prepare = prepare,
    .step = step,
    .run = run,
};
