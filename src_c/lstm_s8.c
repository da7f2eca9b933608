/* LSTM in s8: int8 weights, int8 or int16 h, int16 c. Equations: docs/numerics.md. */
#include "fixedpoint.h"
#include "op.h"

/* As in lstm_f32.c. */
#define BLOCK_STEPS 8

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    elstm_lstm_s8 *l = &op->as.lstm_s8;
    l->units = elstm_read_u32(reader);
    const uint32_t inputs = elstm_read_u32(reader);
    l->gate = elstm_read_activation_s16(reader);
    l->candidate = elstm_read_activation_s16(reader);
    l->cell = elstm_read_activation_s16(reader);
    l->gate_exponent = elstm_read_u16(reader);
    l->cell_multiplier = (int32_t)elstm_read_u16(reader);
    l->cell_limit = (int32_t)elstm_read_u16(reader);
    l->hidden_multiplier = (int32_t)elstm_read_u16(reader);
    elstm_read_zeros(reader, 2);
    elstm_skip_scale(reader); /* of c */
    if (reader->failed || (in->type != ELSTM_S8 && in->type != ELSTM_S16) ||
        (out->type != ELSTM_S8 && out->type != ELSTM_S16) || in->width != inputs ||
        out->width != l->units || l->gate.kind == ELSTM_S16_SOFTMAX ||
        l->candidate.kind == ELSTM_S16_SOFTMAX || l->cell.kind == ELSTM_S16_SOFTMAX ||
        l->gate_exponent > 14 || l->cell_multiplier < 1 || l->cell_multiplier > 32767 ||
        l->cell_limit < 1 || l->cell_limit > 32767 || l->hidden_multiplier < 1 ||
        l->hidden_multiplier > 32767)
        return 0;
    l->type = out->type;
    const uint32_t groups = elstm_groups(l->units);
    const uint32_t quads_x = (inputs + 3) / 4, quads_h = (l->units + 3) / 4;
    const uint64_t rows = (uint64_t)groups * 4 * ELSTM_GROUP;
    l->kernel = (elstm_matrix_s8){elstm_read_array(reader, rows * quads_x * 4, 1, 64), NULL, groups,
                                  4, quads_x};
    l->recurrent = (elstm_matrix_s8){elstm_read_array(reader, rows * quads_h * 4, 1, 64), NULL,
                                     groups, 4, quads_h};
    l->rescale.bias = elstm_read_array(reader, rows, sizeof(int32_t), 16);
    l->rescale.shift = elstm_read_array(reader, rows, 1, 16);
    l->requantize.shift = elstm_read_array(reader, rows, 1, 16);
    l->requantize.multiplier = elstm_read_array(reader, rows, sizeof(int16_t), 16);
    elstm_read_table(reader, &l->gate);
    elstm_read_table(reader, &l->candidate);
    elstm_read_table(reader, &l->cell);
    l->plain = l->gate.kind == ELSTM_S16_SIGMOID && l->candidate.kind == ELSTM_S16_TANH &&
               l->cell.kind == ELSTM_S16_TANH && l->gate.doublings == 0 &&
               l->candidate.doublings == 0 && l->gate_exponent == 0 && l->cell_limit == 32767;
    return !reader->failed;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0];
    const elstm_lstm_s8 *l = &op->as.lstm_s8;
    const int32_t most = l->type == ELSTM_S8 ? 128 : l->hidden_multiplier;
    const int32_t least = in->type == ELSTM_S16 && l->type == ELSTM_S8 ? 0 : -4;
    const elstm_rows_s8_check rows = {&l->kernel,     &l->recurrent, &l->rescale,
                                      &l->requantize, l->units,      in->width,
                                      in->type,       most,          least};
    return elstm_rows_s8_hold(&rows);
}

static int timing(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    (void)op;
    return elstm_time_cell(io, 1, time);
}

/* What the kernels for one stream take. */
static int is_plain_s8(const elstm_lstm_s8 *l) { return l->plain && l->type == ELSTM_S8; }

/* The kernel that a step of so many streams is one call of, or NULL. */
static elstm_whole_s8 *whole(const elstm_lstm_s8 *l, const elstm_kernels *kernels,
                             elstm_type input_type, uint32_t streams) {
    if (streams != 1 || !l->plain) return NULL;
    return input_type == ELSTM_S16 && l->type == ELSTM_S8 ? kernels->step_s16 : kernels->step_any;
}

/* Its scratch, in bytes a unit. */
static uint32_t whole_scratch(const elstm_lstm_s8 *l, const elstm_kernels *kernels) {
    return l->type == ELSTM_S16 && kernels->step_scratch > 2 ? 2 : kernels->step_scratch;
}

/* Whether a run of such a layer is steps: of sets whose step keeps no sums in memory. */
static int runs_by_steps(const elstm_kernels *kernels) {
    return kernels->step_scratch < 4 * sizeof(int32_t);
}

static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const elstm_lstm_s8 *l = &op->as.lstm_s8;
    const uint64_t units = (uint64_t)l->kernel.groups * ELSTM_GROUP, rows = 4 * units;
    const uint64_t block = io->in[0].rows < BLOCK_STEPS ? io->in[0].rows : BLOCK_STEPS;
    sizes->state = (l->type == ELSTM_S8 ? 3 : 4) * units; /* c int16, h */
    const uint64_t surplus = kernels->prepare_s8 == NULL ? 0 : 2 * rows;
    const uint64_t cell =
        kernels->prepare_lstm_s8 == NULL ? 0 : elstm_prepared_lstm_size(l->kernel.groups);
    sizes->prepared = (surplus + cell) * sizeof(int32_t);
    if ((block == 1 || runs_by_steps(kernels)) &&
        whole(l, kernels, io->in[0].type, streams) != NULL)
        sizes->scratch = units * whole_scratch(l, kernels);
    else
        sizes->scratch = block * streams * rows * sizeof(int32_t);
}

/* A stream's state is c, then h. */
static elstm_cell_s8 cell_of(const elstm_lstm_s8 *l, unsigned char *state, void *y) {
    const size_t units = (size_t)l->kernel.groups * ELSTM_GROUP;
    return (elstm_cell_s8){
        (int16_t *)(void *)state, state + 2 * units, y, l->type, l->cell_multiplier,
        l->hidden_multiplier,     l->cell.doublings};
}

static void prepare(const elstm_runner *runner, elstm_op *op) {
    elstm_lstm_s8 *l = &op->as.lstm_s8;
    const elstm_kernels *kernels = runner->kernels;
    int32_t *at = elstm_prepare_s8(kernels, &l->kernel, op->prepared);
    at = elstm_prepare_s8(kernels, &l->recurrent, at);
    if (kernels->prepare_lstm_s8 != NULL)
        kernels->prepare_lstm_s8(&l->requantize, l->kernel.groups, at);
    const elstm_type type = runner->tensors[op->in].type;
    l->all = (elstm_plain_s8){&l->kernel, &l->recurrent, &l->rescale, &l->requantize, type};
    l->own = cell_of(l, runner->state + op->state_offset, runner->tensors[op->out].data);
    l->whole = whole(l, kernels, type, runner->limits.streams);
}

/* Any functions, gates beyond 1, and the clip. */
static void general(const elstm_kernels *kernels, const elstm_lstm_s8 *l, const int32_t *acc,
                    const elstm_cell_s8 *cell) {
    const uint32_t places = 15 - l->gate_exponent;
    for (uint32_t group = 0; group < l->kernel.groups; ++group) {
        int16_t z[4 * ELSTM_GROUP], p[ELSTM_GROUP];
        const uint32_t at = group * ELSTM_GROUP;
        const elstm_requantize rows = {l->requantize.shift + 4 * at,
                                       l->requantize.multiplier + 4 * at, NULL, 0};
        kernels->requantize_s8(acc + 4 * at, &rows, z, 4 * ELSTM_GROUP);
        elstm_activate_s16(kernels, &l->gate, z, 2 * ELSTM_GROUP);
        elstm_activate_s16(kernels, &l->candidate, z + 2 * ELSTM_GROUP, ELSTM_GROUP);
        elstm_activate_s16(kernels, &l->gate, z + 3 * ELSTM_GROUP, ELSTM_GROUP);
        for (uint32_t u = 0; u < ELSTM_GROUP; ++u) {
            const int32_t kept = elstm_sat16(elstm_rs(z[8 + u] * cell->c[at + u], places));
            const int32_t added =
                elstm_mh(elstm_sat16(elstm_rs(z[u] * z[16 + u], 15)), l->cell_multiplier);
            int32_t c = elstm_sat16(kept + added);
            if (l->cell_limit < 32767) c = elstm_clamp(c, l->cell_limit);
            p[u] = cell->c[at + u] = (int16_t)c;
        }
        elstm_activate_s16(kernels, &l->cell, p, ELSTM_GROUP);
        for (uint32_t u = 0; u < ELSTM_GROUP; ++u) {
            const int32_t h = elstm_sat16(elstm_rs(z[24 + u] * p[u], 15));
            const int32_t scaled = elstm_rs(h * l->hidden_multiplier, 15);
            if (l->type == ELSTM_S8)
                ((int8_t *)cell->h)[at + u] = ((int8_t *)cell->y)[at + u] =
                    (int8_t)elstm_clamp(scaled, 127);
            else
                ((int16_t *)cell->h)[at + u] = ((int16_t *)cell->y)[at + u] = (int16_t)scaled;
        }
    }
}

/* `steps` steps from row `first` on. */
static void block(elstm_runner *runner, const elstm_op *op, uint32_t first, uint32_t steps) {
    const elstm_lstm_s8 *l = &op->as.lstm_s8;
    const elstm_kernels *kernels = runner->kernels;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t streams = runner->limits.streams, units = l->kernel.groups * ELSTM_GROUP,
                   rows = 4 * units;
    const size_t stride = runner->model->state_size;
    unsigned char *state = runner->state + op->state_offset;
    const int wide = l->type == ELSTM_S16;
    const size_t row = (size_t)out->stride << wide; /* bytes */
    unsigned char *y = (unsigned char *)out->data + first * row;
    int32_t *acc = runner->scratch;
    if (in->type == ELSTM_S16)
        kernels->matmul_s16(&l->kernel, &l->rescale,
                            (const int16_t *)in->data + (size_t)first * in->stride, in->stride, acc,
                            steps * streams);
    else
        kernels->matmul_s8(&l->kernel, &l->rescale,
                           (const int8_t *)in->data + (size_t)first * in->stride, in->stride, acc,
                           steps * streams);
    const void *h = state + 2 * (size_t)units;
    const int joined = kernels->recurrent_s8 != NULL && streams == 1 && is_plain_s8(l);
    for (uint32_t step = 0; step < steps; ++step) {
        if (wide)
            kernels->matmul_s16(&l->recurrent, NULL, h, stride / sizeof(int16_t), acc, streams);
        else if (!joined)
            kernels->matmul_s8(&l->recurrent, NULL, h, stride, acc, streams);
        for (uint32_t stream = 0; stream < streams; ++stream, acc += rows, y += row) {
            const elstm_cell_s8 cell = cell_of(l, state + stream * stride, y);
            if (joined)
                kernels->recurrent_s8(&l->recurrent, acc, &l->requantize, &cell);
            else if (l->plain)
                kernels->lstm_s8(acc, &l->requantize, &cell, l->kernel.groups);
            else
                general(kernels, l, acc, &cell);
        }
    }
}

/* One step that is one call, from row `at` on. */
static void step_whole(elstm_runner *runner, const elstm_op *op, uint32_t at) {
    const elstm_lstm_s8 *l = &op->as.lstm_s8;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    elstm_cell_s8 cell = l->own;
    cell.y = (unsigned char *)cell.y + ((size_t)at * out->stride << (l->type == ELSTM_S16));
    l->whole(&l->all,
             (const unsigned char *)in->data + ((size_t)at * in->stride << (in->type == ELSTM_S16)),
             runner->scratch, &cell);
}

static void step(elstm_runner *runner, const elstm_op *op) {
    const elstm_lstm_s8 *l = &op->as.lstm_s8;
    if (l->whole != NULL)
        l->whole(&l->all, runner->tensors[op->in].data, runner->scratch, &l->own);
    else
        block(runner, op, 0, 1);
}

static void run(elstm_runner *runner, const elstm_op *op) {
    const uint32_t streams = runner->limits.streams, steps = runner->tensors[op->in].rows / streams;
    const uint32_t most =
        op->as.lstm_s8.whole != NULL && (steps == 1 || runs_by_steps(runner->kernels))
            ? 1
            : BLOCK_STEPS;
    for (uint32_t at = 0; at < steps; at += most) {
        if (most == 1)
            step_whole(runner, op, at); /* its scratch may be all there is */
        else
            block(runner, op, at * streams, steps - at < BLOCK_STEPS ? steps - at : BLOCK_STEPS);
    }
}

const elstm_layer elstm_layer_lstm_s8 = {
    .kind = ELSTM_KIND_LSTM_S8,
    .decode = decode,
    .check = check,
    .time = timing,
    .sizes = sizes,
    .prepare = prepare,
    .step = step,
    .run = run,
};
