/* What recurrent layers share: rows in blocks, steps that do not count, states to start from. */
#include "fixedpoint.h"
#include "op.h"

#include <string.h>

uint32_t elstm_span(uint32_t units) { return elstm_groups(units) * ELSTM_GROUP; }

/* Blocks side by side. */
static uint32_t side(uint32_t blocks) { return blocks < 3 ? 1 : 4; }

static uint64_t padded(uint32_t gates, uint32_t units) {
    const uint32_t blocks = gates * elstm_groups(units);
    return ((uint64_t)blocks + side(blocks) - 1) / side(blocks) * side(blocks) * ELSTM_GROUP;
}

elstm_matrix_f32 elstm_read_blocks_f32(elstm_reader *reader, uint32_t gates, uint32_t units,
                                       uint32_t columns) {
    const uint64_t rows = padded(gates, units);
    const uint32_t across = side(gates * elstm_groups(units));
    return (elstm_matrix_f32){elstm_read_array(reader, rows * columns, sizeof(float), 64),
                              (uint32_t)(rows / ELSTM_GROUP / across), across, columns};
}

elstm_matrix_s8 elstm_read_blocks_s8(elstm_reader *reader, uint32_t gates, uint32_t units,
                                     uint32_t columns) {
    const uint64_t rows = padded(gates, units);
    const uint32_t across = side(gates * elstm_groups(units)), quads = (columns + 3) / 4;
    return (elstm_matrix_s8){elstm_read_array(reader, rows * quads * 4, 1, 64), NULL,
                             (uint32_t)(rows / ELSTM_GROUP / across), across, quads};
}

void elstm_read_rows_s8(elstm_reader *reader, uint32_t rows, elstm_rescale *rescale,
                        elstm_requantize *requantize) {
    rescale->bias = elstm_read_array(reader, rows, sizeof(int32_t), 16);
    rescale->shift = elstm_read_array(reader, rows, 1, 16);
    requantize->shift = elstm_read_array(reader, rows, 1, 16);
    requantize->multiplier = elstm_read_array(reader, rows, sizeof(int16_t), 16);
}

elstm_start_s8 elstm_read_start_s8(elstm_reader *reader) {
    const int32_t shift = (int32_t)elstm_read_u8(reader);
    elstm_read_zeros(reader, 1);
    const int32_t multiplier = (int32_t)elstm_read_u16(reader);
    const elstm_start_s8 start = {shift > 127 ? shift - 256 : shift, multiplier};
    if (start.shift < -4 || start.shift > 27 || multiplier > 32767) reader->failed = 1;
    return start;
}

static uint32_t bits_of(const void *value) {
    uint32_t bits;
    memcpy(&bits, value, sizeof bits);
    return bits;
}

int elstm_blocks_f32_hold(const elstm_matrix_f32 *matrix, uint32_t gates, uint32_t units) {
    const uint32_t lanes = matrix->gates * ELSTM_GROUP, span = elstm_span(units);
    const float *w = matrix->weights;
    for (uint32_t at = 0; at < elstm_rows_f32(matrix); at += lanes)
        for (uint64_t k = 0; k < (uint64_t)matrix->columns * lanes; ++k, ++w) {
            const uint32_t row = at + (uint32_t)(k % lanes);
            const int padding = row >= gates * span || row % span >= units;
            const uint32_t bits = bits_of(w);
            if ((bits & 0x7F800000u) == 0x7F800000u || (padding && bits != 0)) return 0;
        }
    return 1;
}

int elstm_no_weights_s8(const elstm_matrix_s8 *matrix, uint32_t row) {
    for (; row < elstm_rows_s8(matrix); ++row)
        if (elstm_row_sum_s8(matrix, row, 0) != 0) return 0;
    return 1;
}

/* ---- steps that do not count, states to start from ---- */

int elstm_gaps_fit(const elstm_gaps *gaps, const elstm_io *io, elstm_type mask, uint32_t states) {
    const uint32_t masked = gaps->options & ELSTM_MASKED ? 1 : 0;
    const uint32_t initial = gaps->options & ELSTM_INITIAL ? states : 0;
    if (io->reads != 1 + masked + initial) return 0;
    return !masked || (io->in[1].type == mask && io->in[1].width == 1);
}

void elstm_read_period(elstm_reader *reader, elstm_gaps *gaps) {
    if (!(gaps->options & ELSTM_PERIOD)) return;
    gaps->period = elstm_read_u32(reader);
    if (gaps->period < 1 || gaps->period > ELSTM_MOST_COUNT) reader->failed = 1;
}

int elstm_gaps_time(const elstm_gaps *gaps, const elstm_io *io, elstm_time *time) {
    return elstm_time_cell(io, gaps->options & ELSTM_MASKED ? 2 : 1, time);
}

uint64_t elstm_gaps_state(const elstm_gaps *gaps, uint64_t size) {
    return size + (gaps->options & ELSTM_INITIAL ? sizeof(uint32_t) : 0) +
           (gaps->options & ELSTM_PERIOD ? sizeof(uint32_t) : 0);
}

static uint32_t *flags_of(const elstm_gaps *gaps, unsigned char *state) {
    return (uint32_t *)(void *)(state + gaps->flags_at);
}

int elstm_gaps_counts(const elstm_runner *runner, const elstm_op *op, const elstm_gaps *gaps,
                      size_t row) {
    if (!(gaps->options & ELSTM_MASKED)) return 1;
    const elstm_tensor *mask = &runner->tensors[op->reads[1]];
    const unsigned char *at = (const unsigned char *)mask->data + row * mask->row;
    if (mask->type == ELSTM_F32) return (bits_of(at) & 0x7FFFFFFFu) != 0; /* 0 and -0 */
    return mask->type == ELSTM_S16 ? *(const int16_t *)(const void *)at != 0 : *at != 0;
}

/* One row more; before the first of a period all is as after a reset. */
static void begin_row(const elstm_gaps *gaps, unsigned char *state) {
    const uint32_t size = gaps->flags_at + (gaps->options & ELSTM_INITIAL ? sizeof(uint32_t) : 0);
    uint32_t *rows = (uint32_t *)(void *)(state + size);
    if (*rows >= gaps->period) *rows = 0; /* whatever a caller put back as state */
    if (*rows == 0) memset(state, 0, size);
    ++*rows;
}

const elstm_tensor *elstm_gaps_start(const elstm_runner *runner, const elstm_op *op,
                                     const elstm_gaps *gaps, unsigned char *state) {
    if (gaps->period != 0) begin_row(gaps, state);
    if (!(gaps->options & ELSTM_INITIAL)) return NULL;
    uint32_t *flags = flags_of(gaps, state);
    if (*flags & ELSTM_STARTED) return NULL;
    *flags |= ELSTM_STARTED;
    return &runner->tensors[op->reads[gaps->options & ELSTM_MASKED ? 2 : 1]];
}

void elstm_gaps_note(const elstm_gaps *gaps, unsigned char *state) {
    if (gaps->options & ELSTM_INITIAL) *flags_of(gaps, state) |= ELSTM_SEEN;
}

void elstm_gaps_repeat(const elstm_gaps *gaps, unsigned char *state, const void *h, void *y,
                       size_t size) {
    if (gaps->options & ELSTM_INITIAL && !(*flags_of(gaps, state) & ELSTM_SEEN))
        memset(y, 0, size);
    else
        memcpy(y, h, size);
}

void elstm_start_state_s8(const elstm_tensor *from, uint32_t stream, elstm_start_s8 start,
                          int32_t limit, elstm_type type, void *state) {
    const unsigned char *row = (const unsigned char *)from->data + stream * from->row;
    for (uint32_t k = 0; k < from->width; ++k) {
        const int32_t v = from->type == ELSTM_S8 ? ((const int8_t *)row)[k]
                                                 : ((const int16_t *)(const void *)row)[k];
        int32_t own = elstm_requantize_one(256 * v, start.shift, start.multiplier);
        if (limit < 32767) own = elstm_clamp(own, limit);
        if (type == ELSTM_S8)
            ((int8_t *)state)[k] = (int8_t)own;
        else
            ((int16_t *)state)[k] = (int16_t)own;
    }
}

/* ---- clips, and h from finer values ---- */

#if ELSTM_LINKS_F32
void elstm_clip_f32(float *v, float clip, uint32_t count) {
    if (!(clip > 0)) return;
    for (uint32_t k = 0; k < count; ++k) v[k] = v[k] > clip ? clip : v[k] < -clip ? -clip : v[k];
}
#endif

void elstm_clip_s16(int16_t *v, int32_t limit, uint32_t count) {
    if (limit == 32767) return;
    for (uint32_t k = 0; k < count; ++k) v[k] = (int16_t)elstm_clamp(v[k], limit);
}

void elstm_hidden_s16(const int16_t *p, int32_t multiplier, elstm_type type, void *h,
                      uint32_t count) {
    if (type == ELSTM_S8) {
        int8_t *own = h;
        for (uint32_t k = 0; k < count; ++k)
            own[k] = (int8_t)elstm_clamp(elstm_rs(p[k] * multiplier, 15), 127);
    } else {
        int16_t *own = h;
        for (uint32_t k = 0; k < count; ++k) own[k] = (int16_t)elstm_rs(p[k] * multiplier, 15);
    }
}

void elstm_product_s8(const elstm_kernels *kernels, const elstm_matrix_s8 *w,
                      const elstm_rescale *rescale, elstm_type type, const void *x, size_t stride,
                      int32_t *y, uint32_t count) {
    if (type == ELSTM_S16)
        kernels->matmul_s16(w, rescale, x, stride, y, count);
    else
        kernels->matmul_s8(w, rescale, x, stride, y, count);
}
