/* Layers that move rows and compute nothing, of floats and integers alike: edgelstm/layers.py says
 * what each does. A row of all tensors read that a later one needs is kept in the state, in the
 * place of its number. */
#include "op.h"

#include <string.h>

/* ---- rows ---- */

static size_t row_bytes(const elstm_tensor *tensor) {
    return tensor->width * elstm_value_size(tensor->type);
}

static unsigned char *row_at(const elstm_tensor *tensor, uint64_t row) {
    return (unsigned char *)tensor->data + row * tensor->row;
}

static unsigned char *state_of(const elstm_runner *runner, const elstm_op *op) {
    return runner->state + op->state_offset;
}

/* A layer that changes nothing copies: as many rows as there are. */
static void copy(const elstm_tensor *in, const elstm_tensor *out, uint32_t rows) {
    memcpy(out->data, in->data, rows * in->row);
}

static void step(elstm_runner *runner, const elstm_op *op) {
    copy(&runner->tensors[op->in], &runner->tensors[op->out], runner->limits.streams);
}

/* ---- what all check ---- */

/* The tensor written is like the one read, of so many values. */
static int alike(const elstm_io *io, uint64_t width) {
    return elstm_alike(&io->in[0], &io->out[0]) && io->out[0].width == width;
}

static int read_count(elstm_reader *reader, elstm_op *op) {
    op->as.mover.count = elstm_read_u32(reader);
    return op->as.mover.count >= 1 && op->as.mover.count <= ELSTM_MOST_COUNT;
}

static int read_ends(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    op->as.mover.left = elstm_read_u32(reader);
    op->as.mover.right = elstm_read_u32(reader);
    return op->as.mover.left <= ELSTM_MOST_COUNT && op->as.mover.right <= ELSTM_MOST_COUNT &&
           alike(io, io->in[0].width);
}

static uint64_t kept_rows(const elstm_form *in, uint64_t rows) {
    return rows * ((in->width + 7) / 8 * 8) * elstm_value_size(in->type);
}

/* ---- Reverse ---- */

static int decode_reverse(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    op->as.mover.period = elstm_read_own_period(reader);
    return alike(io, io->in[0].width);
}

/* A period's rows, each a window of its own. */
static elstm_window reversed(const elstm_op *op) {
    return (elstm_window){.reach = 1, .stride = 1, .period = op->as.mover.period};
}

static int time_reverse(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    const elstm_window window = reversed(op);
    if (window.period != 0) return elstm_window_time(&window, io, time);
    time->waits = 1;
    return elstm_time_sequence(io, time);
}

static void sizes_reverse(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                          uint32_t streams, elstm_sizes *sizes) {
    const elstm_window window = reversed(op);
    (void)kernels, (void)streams;
    if (window.period != 0) sizes->state = elstm_windows_state(&window, &io->in[0]);
}

static void reverse(elstm_runner *runner, const elstm_op *op, const elstm_windows *windows) {
    (void)runner, (void)op;
    for (uint32_t k = 0; k < windows->windows; ++k)
        memcpy(windows->y + k * windows->y_row,
               elstm_windows_row(windows, 0, (int64_t)windows->windows - 1 - k), windows->row);
}

static void run_reverse(elstm_runner *runner, const elstm_op *op) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const elstm_window window = reversed(op);
    if (window.period == 1) { /* many streams */
        copy(in, out, in->rows);
    } else if (window.period != 0) {
        elstm_windows_run(runner, op, &window, reverse);
    } else {
        for (uint32_t k = 0; k < in->rows; ++k)
            memcpy(row_at(out, in->rows - 1 - k), row_at(in, k), in->row);
    }
}

const elstm_layer elstm_layer_reverse = {
    .kind = ELSTM_KIND_REVERSE,
    .decode = decode_reverse,
    .time = time_reverse,
    .sizes = sizes_reverse,
    .step = step,
    .run = run_reverse,
};

/* ---- Crop ---- */

static int time_crop(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    const elstm_mover *m = &op->as.mover;
    if (m->left != 0 || m->right != 0) elstm_time_change(time, ELSTM_CLOCK_CROP, m->left, m->right);
    return elstm_time_sequence(io, time);
}

/* The rows that may turn out not to be among the last. */
static void sizes_crop(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                       uint32_t streams, elstm_sizes *sizes) {
    (void)kernels, (void)streams;
    sizes->state = kept_rows(&io->in[0], op->as.mover.right);
}

static void run_crop(elstm_runner *runner, const elstm_op *op) {
    const elstm_mover *m = &op->as.mover;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    unsigned char *kept = state_of(runner, op);
    if (m->left == 0 && m->right == 0) {
        copy(in, out, in->rows);
        return;
    }
    for (uint32_t k = 0; k < out->rows; ++k) {
        const uint64_t row = out->first + k + m->left;
        const unsigned char *from =
            row >= in->first ? row_at(in, row - in->first) : kept + row % m->right * in->row;
        memcpy(row_at(out, k), from, in->row);
    }
    for (uint32_t k = in->rows > m->right ? in->rows - m->right : 0; k < in->rows; ++k)
        memcpy(kept + (in->first + k) % m->right * in->row, row_at(in, k), in->row);
}

const elstm_layer elstm_layer_crop = {
    .kind = ELSTM_KIND_CROP,
    .decode = read_ends,
    .time = time_crop,
    .sizes = sizes_crop,
    .step = step,
    .run = run_crop,
};

/* ---- Pad ---- */

static int time_pad(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    const elstm_mover *m = &op->as.mover;
    time->waits = m->right != 0;
    if (m->left != 0 || m->right != 0) elstm_time_change(time, ELSTM_CLOCK_PAD, m->left, m->right);
    return elstm_time_sequence(io, time);
}

static void run_pad(elstm_runner *runner, const elstm_op *op) {
    const elstm_mover *m = &op->as.mover;
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    uint32_t zeros = 0;
    if (m->left == 0 && m->right == 0) {
        copy(in, out, in->rows);
        return;
    }
    for (; zeros < out->rows && out->first + zeros < m->left; ++zeros)
        memset(row_at(out, zeros), in->zero, out->row);
    copy(in, &(elstm_tensor){.data = row_at(out, zeros)}, in->rows);
    for (uint32_t k = zeros + in->rows; k < out->rows; ++k)
        memset(row_at(out, k), in->zero, out->row);
}

const elstm_layer elstm_layer_pad = {
    .kind = ELSTM_KIND_PAD,
    .decode = read_ends,
    .time = time_pad,
    .step = step,
    .run = run_pad,
};

/* ---- Repeat ---- */

static int decode_repeat(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    return read_count(reader, op) && alike(io, io->in[0].width);
}

static int time_repeat(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    time->waits = 1;
    time->single = ELSTM_SEQUENCE;
    elstm_time_change(time, ELSTM_CLOCK_FIXED, op->as.mover.count, 0);
    return io->in[0].single != ELSTM_SEQUENCE;
}

static void run_repeat(elstm_runner *runner, const elstm_op *op) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    for (uint32_t k = 0; k < out->rows; ++k) memcpy(row_at(out, k), in->data, in->row);
}

const elstm_layer elstm_layer_repeat = {
    .kind = ELSTM_KIND_REPEAT,
    .decode = decode_repeat,
    .time = time_repeat,
    .run = run_repeat,
};

/* ---- Split ---- */

static int decode_split(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    return read_count(reader, op) && io->in[0].width % op->as.mover.count == 0 &&
           alike(io, io->in[0].width / op->as.mover.count);
}

static int time_split(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    const int single = io->in[0].single != ELSTM_SEQUENCE;
    time->waits = (uint32_t)single;
    time->single = ELSTM_SEQUENCE;
    elstm_time_change(time, single ? ELSTM_CLOCK_FIXED : ELSTM_CLOCK_SPLIT, op->as.mover.count, 0);
    return 1;
}

static void run_split(elstm_runner *runner, const elstm_op *op) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t count = op->as.mover.count;
    const size_t size = row_bytes(out);
    for (uint32_t k = 0; k < in->rows; ++k)
        for (uint32_t j = 0; j < count; ++j)
            memcpy(row_at(out, (uint64_t)k * count + j), row_at(in, k) + j * size, size);
}

const elstm_layer elstm_layer_split = {
    .kind = ELSTM_KIND_SPLIT,
    .decode = decode_split,
    .time = time_split,
    .step = step,
    .run = run_split,
};

/* ---- Group ---- */

static int decode_group(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    const int counted = read_count(reader, op);
    op->as.mover.single = elstm_read_u32(reader);
    return counted && op->as.mover.single <= 1 &&
           alike(io, (uint64_t)io->in[0].width * op->as.mover.count);
}

static int time_group(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    const elstm_mover *m = &op->as.mover;
    if (m->single) {
        time->waits = 1;
        time->exact = m->count;
        time->single = ELSTM_SINGLE;
    } else {
        elstm_time_change(time, ELSTM_CLOCK_GROUP, m->count, 0);
    }
    return io->in[0].single == ELSTM_SEQUENCE;
}

/* The first rows of a group that is not full yet. What was split so comes in full ones, and its
 * clock is an earlier one. */
static void sizes_group(const elstm_op *op, const elstm_io *io, const elstm_kernels *kernels,
                        uint32_t streams, elstm_sizes *sizes) {
    const elstm_mover *m = &op->as.mover;
    const int full = m->single || io->out[0].clock < io->in[0].clock;
    (void)kernels, (void)streams;
    sizes->state = full ? 0 : kept_rows(&io->in[0], m->count - 1);
}

static void run_group(elstm_runner *runner, const elstm_op *op) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const uint32_t count = op->as.mover.count;
    const size_t size = row_bytes(in);
    unsigned char *kept = state_of(runner, op);
    if (count == 1) {
        copy(in, out, in->rows);
        return;
    }
    uint64_t row = out->first * count; /* of the first that has not been grouped */
    for (uint32_t k = 0; k < out->rows; ++k) {
        for (uint32_t j = 0; j < count; ++j, ++row)
            memcpy(row_at(out, k) + j * size,
                   row >= in->first ? row_at(in, row - in->first) : kept + j * in->row, size);
    }
    for (row = row > in->first ? row : in->first; row < in->first + in->rows; ++row)
        memcpy(kept + row % count * in->row, row_at(in, row - in->first), in->row);
}

const elstm_layer elstm_layer_group = {
    .kind = ELSTM_KIND_GROUP,
    .decode = decode_group,
    .time = time_group,
    .sizes = sizes_group,
    .step = step,
    .run = run_group,
};

/* ---- Transpose ---- */

static int decode_transpose(elstm_reader *reader, elstm_op *op, const elstm_io *io) {
    op->as.mover.width = io->in[0].width;
    return read_count(reader, op) && alike(io, op->as.mover.count);
}

static int time_transpose(const elstm_op *op, const elstm_io *io, elstm_time *time) {
    time->waits = 1;
    time->exact = op->as.mover.count;
    elstm_time_change(time, ELSTM_CLOCK_FIXED, op->as.mover.width, 0);
    return elstm_time_sequence(io, time);
}

static void run_transpose(elstm_runner *runner, const elstm_op *op) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    const size_t size = elstm_value_size(in->type);
    for (uint32_t k = 0; k < in->rows; ++k)
        for (uint32_t j = 0; j < out->rows; ++j)
            memcpy(row_at(out, j) + k * size, row_at(in, k) + j * size, size);
}

const elstm_layer elstm_layer_transpose = {
    .kind = ELSTM_KIND_TRANSPOSE,
    .decode = decode_transpose,
    .time = time_transpose,
    .run = run_transpose,
};
