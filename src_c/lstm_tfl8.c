/* TFLite's integer LSTM: int8 weights and h, int16 c, zero points. Equations: docs/numerics.md. */
#include "fixedpoint.h"
#include "op.h"

#include <string.h>

enum { OPTION_INITIAL = 2, OPTION_COUPLED = 4, OPTION_BARE = 8 };

static int32_t read_s8(elstm_reader *reader) {
    const int32_t v = (int32_t)elstm_read_u8(reader);
    return v > 127 ? v - 256 : v;
}

/* The cell's scale is 2^exponent. */
static int is_cell(const elstm_form *form, uint32_t units, uint32_t whole) {
    return form->type == ELSTM_S16 && form->width == units &&
           form->scale == ELSTM_SCALE_ONE - ((15 - whole) << 23);
}

static int decode(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const elstm_form *in = &io->in[0], *out = &io->out[0];
    elstm_lstm_tfl8 *l = &op->as.lstm_tfl8;
    l->units = elstm_read_u32(reader);
    const uint32_t inputs = elstm_read_u32(reader), options = elstm_read_u16(reader);
    l->flavour = elstm_read_u8(reader);
    l->cell.whole = (uint32_t)read_s8(reader);
    l->state_zero = read_s8(reader);
    l->cell.hidden_zero = read_s8(reader);
    l->cell.clip = (int32_t)elstm_read_u16(reader);
    for (uint32_t k = 0; k < 4; ++k) l->cell.input[k] = elstm_read_factor(reader);
    for (uint32_t k = 0; k < 4; ++k) l->cell.recurrent[k] = elstm_read_factor(reader);
    l->cell.hidden = elstm_read_factor(reader);
    l->update = elstm_read_factor(reader);
    l->initial = options & OPTION_INITIAL ? 1 : 0;
    l->cell.coupled = options & OPTION_COUPLED ? 1 : 0;
    l->cell.bare = options & OPTION_BARE ? 1 : 0;
    /* 15 + whole is how far products are shifted */
    const uint32_t places = 15 + l->cell.whole;
    if (reader->failed || options & ~(uint32_t)(OPTION_INITIAL | OPTION_COUPLED | OPTION_BARE) ||
        l->flavour >= ELSTM_FLAVOURS || (l->cell.bare ? places > 14 : places < 15 || places > 21) ||
        l->cell.clip > 32767 || ((l->cell.coupled || l->cell.bare) && l->flavour == ELSTM_MICRO) ||
        (l->cell.coupled && l->cell.bare) || in->type != ELSTM_S8 || out->type != ELSTM_S8 ||
        in->width != inputs || out->width != l->units || io->reads != (l->initial ? 3 : 1) ||
        (io->writes == 2 && !is_cell(&io->out[1], l->units, l->cell.whole)))
        return 0;
    if (l->initial && (io->in[1].type != ELSTM_S8 || io->in[1].width != l->units ||
                       !is_cell(&io->in[2], l->units, l->cell.whole)))
        return 0;
    const uint32_t groups = elstm_groups(l->units);
    const uint32_t quads_x = (inputs + 3) / 4, quads_h = (l->units + 3) / 4;
    const uint64_t rows = (uint64_t)groups * 4 * ELSTM_GROUP;
    l->kernel = (elstm_matrix_s8){elstm_read_array(reader, rows * quads_x * 4, 1, 64), NULL, groups,
                                  4, quads_x};
    l->recurrent = (elstm_matrix_s8){elstm_read_array(reader, rows * quads_h * 4, 1, 64), NULL,
                                     groups, 4, quads_h};
    l->entering.bias = elstm_read_array(reader, rows, sizeof(int32_t), 16);
    l->again.bias = elstm_read_array(reader, rows, sizeof(int32_t), 16);
    return !reader->failed;
}

static int check(const elstm_op *op, const elstm_io *io) {
    const elstm_lstm_tfl8 *l = &op->as.lstm_tfl8;
    return elstm_sums_tfl8_hold(&l->kernel, l->entering.bias, l->units, io->in[0].width) &&
           elstm_sums_tfl8_hold(&l->recurrent, l->again.bias, l->units, l->units);
}

static int timing(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    (void)op;
    return elstm_time_cell(io, 1, time);
}

/* A stream's state: c, h, and whether it has started, before which h is no zero. Scratch: what x
 * gives each step of a block, and what h gives one. */
static void sizes(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                  uint32_t streams, elstm_sizes *sizes) {
    const elstm_lstm_tfl8 *l = &op->as.lstm_tfl8;
    const uint64_t units = (uint64_t)l->kernel.groups * ELSTM_GROUP, rows = 4 * units;
    const uint64_t block = io->in[0].rows < ELSTM_BLOCK_STEPS ? io->in[0].rows : ELSTM_BLOCK_STEPS;
    sizes->state = 3 * units + sizeof(uint32_t);
    sizes->prepared = (kernels->prepare_s8 == NULL ? 0 : 2 * rows * sizeof(int32_t)) + rows;
    sizes->scratch = (block + 1) * streams * rows * sizeof(int32_t);
}

static void prepare(const elstm_runner *runner, elstm_op *op) {
    elstm_lstm_tfl8 *l = &op->as.lstm_tfl8;
    int32_t *at = elstm_prepare_s8(runner->kernels, &l->kernel, op->prepared);
    at = elstm_prepare_s8(runner->kernels, &l->recurrent, at);
    l->entering.shift = l->again.shift = (const int8_t *)at; /* zeros, as all of a fresh arena */
}

/* ---- TFLite Micro: the functions are straight lines between the entries of a table ---- */

/* 65536 / (1 + e^(-k / 24)), raised by half of what the line misses at most. */
static const uint16_t logistic_at[256] = {
    32768, 33451, 34133, 34813, 35493, 36169, 36843, 37513, 38180, 38841, 39498, 40149, 40794,
    41432, 42064, 42688, 43304, 43912, 44511, 45102, 45683, 46255, 46817, 47369, 47911, 48443,
    48964, 49475, 49975, 50464, 50942, 51409, 51865, 52311, 52745, 53169, 53581, 53983, 54374,
    54755, 55125, 55485, 55834, 56174, 56503, 56823, 57133, 57433, 57724, 58007, 58280, 58544,
    58800, 59048, 59288, 59519, 59743, 59959, 60168, 60370, 60565, 60753, 60935, 61110, 61279,
    61441, 61599, 61750, 61896, 62036, 62172, 62302, 62428, 62549, 62666, 62778, 62886, 62990,
    63090, 63186, 63279, 63368, 63454, 63536, 63615, 63691, 63765, 63835, 63903, 63968, 64030,
    64090, 64148, 64204, 64257, 64308, 64357, 64405, 64450, 64494, 64536, 64576, 64614, 64652,
    64687, 64721, 64754, 64786, 64816, 64845, 64873, 64900, 64926, 64950, 64974, 64997, 65019,
    65039, 65060, 65079, 65097, 65115, 65132, 65149, 65164, 65179, 65194, 65208, 65221, 65234,
    65246, 65258, 65269, 65280, 65291, 65301, 65310, 65319, 65328, 65337, 65345, 65352, 65360,
    65367, 65374, 65381, 65387, 65393, 65399, 65404, 65410, 65415, 65420, 65425, 65429, 65433,
    65438, 65442, 65445, 65449, 65453, 65456, 65459, 65462, 65465, 65468, 65471, 65474, 65476,
    65479, 65481, 65483, 65485, 65488, 65489, 65491, 65493, 65495, 65497, 65498, 65500, 65501,
    65503, 65504, 65505, 65507, 65508, 65509, 65510, 65511, 65512, 65513, 65514, 65515, 65516,
    65517, 65517, 65518, 65519, 65520, 65520, 65521, 65522, 65522, 65523, 65523, 65524, 65524,
    65525, 65525, 65526, 65526, 65526, 65527, 65527, 65528, 65528, 65528, 65529, 65529, 65529,
    65529, 65530, 65530, 65530, 65530, 65531, 65531, 65531, 65531, 65531, 65532, 65532, 65532,
    65532, 65532, 65532, 65533, 65533, 65533, 65533, 65533, 65533, 65533, 65533, 65534, 65534,
    65534, 65534, 65534, 65534, 65534, 65534, 65534, 65534, 65535,
};

/* The line at v, of which `places` bits are a fraction, and `end` beyond the table. */
static uint32_t line(int32_t v, uint32_t places, uint32_t end) {
    const uint32_t size = (uint32_t)(v < 0 ? -v : v), k = size >> places;
    if (k >= 255) return end;
    const uint32_t rise = (uint32_t)logistic_at[k + 1] - logistic_at[k];
    return ((uint32_t)logistic_at[k] << places) + (size & ((1u << places) - 1)) * rise;
}

static int32_t micro_logistic(int32_t a) {
    const int32_t r = (int32_t)line(3 * a, 9, 0x7FFFu << 10);
    return a >= 0 ? (r + 512) >> 10 : ((1 << 25) - r + 511) >> 10;
}

static int32_t micro_tanh(int32_t a, uint32_t whole) {
    const int32_t v =
        whole >= 3 ? a * (3 << (whole - 3)) : (3 * a + (1 << (2 - whole))) >> (3 - whole);
    const int32_t r = (int32_t)line(v, 8, 0xFFFFu << 8) - (1 << 23);
    return v >= 0 ? (r + 128) >> 8 : (127 - r) >> 8;
}

static int32_t micro_gate(const elstm_cell_tfl8 *cell, uint32_t gate, int32_t x, int32_t again) {
    return elstm_sat16(elstm_sat16(elstm_times(x, cell->input[gate])) +
                       elstm_sat16(elstm_times(again, cell->recurrent[gate])));
}

static void micro_cell(const elstm_lstm_tfl8 *l, const int32_t *x, const int32_t *again,
                       const elstm_state_tfl8 *state) {
    for (uint32_t group = 0; group < l->kernel.groups; ++group, x += 32, again += 32) {
        for (uint32_t u = 0; u < ELSTM_GROUP; ++u) {
            const uint32_t k = group * ELSTM_GROUP + u;
            int32_t z[4];
            for (uint32_t gate = 0; gate < 4; ++gate)
                z[gate] = micro_gate(&l->cell, gate, x[8 * gate + u], again[8 * gate + u]);
            const int32_t i = micro_logistic(z[0]), f = micro_logistic(z[1]);
            const int32_t g = micro_tanh(z[2], 3), o = micro_logistic(z[3]);
            int32_t c = elstm_sat16(elstm_sat16(elstm_divide(f * state->c[k], 15)) +
                                    elstm_sat16(elstm_times(i * g, l->update)));
            if (l->cell.clip != 0) c = elstm_clamp(c, l->cell.clip);
            const int32_t p = o * micro_tanh(c, l->cell.whole);
            const int32_t h =
                elstm_clamp(elstm_times(p, l->cell.hidden), 65536) + l->cell.hidden_zero;
            state->c[k] = (int16_t)c;
            state->h[k] = state->y[k] = (int8_t)(h < -128 ? -128 : h > 127 ? 127 : h);
        }
    }
}

/* ---- steps ---- */

/* Before its first row a stream's h is what stands for 0, or both states are those that are read.
 */
static void start(elstm_runner *runner, const elstm_op *op, unsigned char *state, uint32_t stream) {
    const elstm_lstm_tfl8 *l = &op->as.lstm_tfl8;
    const size_t units = (size_t)l->kernel.groups * ELSTM_GROUP;
    uint32_t started;
    memcpy(&started, state + 3 * units, sizeof started);
    if (started != 0) return;
    started = 1;
    memcpy(state + 3 * units, &started, sizeof started);
    memset(state + 2 * units, l->state_zero, units);
    if (!l->initial) return;
    const elstm_tensor *h = &runner->tensors[op->reads[1]], *c = &runner->tensors[op->reads[2]];
    memcpy(state + 2 * units, (const unsigned char *)h->data + stream * h->row, l->units);
    memcpy(state, (const unsigned char *)c->data + stream * c->row, l->units * sizeof(int16_t));
}

/* `steps` steps from row `first` on. */
static void block(elstm_runner *runner, const elstm_op *op, uint32_t first, uint32_t steps) {
    const elstm_lstm_tfl8 *l = &op->as.lstm_tfl8;
    const elstm_kernels *kernels = runner->kernels;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t streams = runner->limits.streams, units = l->kernel.groups * ELSTM_GROUP,
                   rows = 4 * units;
    const size_t size = runner->model->state_size;
    unsigned char *states = runner->state + op->state_offset;
    int32_t *x = runner->scratch, *again = x + (size_t)steps * streams * rows;
    kernels->matmul_s8(&l->kernel, &l->entering,
                       (const int8_t *)in->data + (size_t)first * in->stride, in->stride, x,
                       steps * streams);
    for (uint32_t stream = 0; stream < streams; ++stream)
        start(runner, op, states + stream * size, stream);
    for (uint32_t step = 0; step < steps; ++step) {
        kernels->matmul_s8(&l->recurrent, &l->again, (const int8_t *)states + 2 * (size_t)units,
                           size, again, streams);
        for (uint32_t stream = 0; stream < streams; ++stream, x += rows) {
            unsigned char *own = states + stream * size;
            const size_t row = (size_t)first + step * streams + stream;
            int8_t *y = (int8_t *)out->data + row * out->stride;
            const elstm_state_tfl8 state = {(int16_t *)(void *)own,
                                            (int8_t *)own + 2 * (size_t)units, y};
            if (l->flavour == ELSTM_MICRO)
                micro_cell(l, x, again + (size_t)stream * rows, &state);
            else if (l->cell.bare)
                elstm_kernels_scalar.lstm_tfl8(x, again + (size_t)stream * rows, &l->cell, &state,
                                               l->kernel.groups);
            else
                kernels->lstm_tfl8(x, again + (size_t)stream * rows, &l->cell, &state,
                                   l->kernel.groups);
            if (op->write_count == 2)
                memcpy((int16_t *)out[1].data + row * out[1].stride, state.c, 2 * (size_t)units);
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

const elstm_layer elstm_layer_lstm_tfl8 = {
    .kind = ELSTM_KIND_LSTM_TFL8,
    .most_reads = 3,
    .most_writes = 2,
    .decode = decode,
    .check = check,
    .time = timing,
    .sizes = sizes,
    .prepare = prepare,
    .step = step,
    .run = run,
};
