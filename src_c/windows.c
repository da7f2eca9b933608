/* Windows over the rows of a sequence: which rows each sees, and what a stream keeps of those gone
 * by. A stream's state is a count of its rows and where the next one goes, then the rows. */
#include "op.h"

#include <string.h>

#define MOST_STEPS 65536u /* of a window, a padding, a period */

typedef struct {
    uint32_t next, filled, unused[2];
} history;

/* Rows that a stream keeps: all but the last of a window, or those of a period not yet complete. */
static uint32_t rows_kept(const elstm_window *window) {
    if (window->period) return window->period;
    return window->right || window->same ? 0 : window->reach - 1;
}

uint64_t elstm_windows_state(const elstm_window *window, const elstm_form *in) {
    const uint64_t kept = rows_kept(window), width = (in->width + 7) / 8 * 8;
    return kept == 0 ? 0 : sizeof(history) + kept * width * elstm_value_size(in->type);
}

void elstm_read_window(elstm_reader *reader, elstm_window *window) {
    window->stride = elstm_read_u32(reader);
    window->left = elstm_read_u32(reader);
    window->right = elstm_read_u32(reader);
    window->same = elstm_read_u32(reader);
    window->period = elstm_read_u32(reader);
    if (window->stride < 1 || window->stride > MOST_STEPS || window->left > MOST_STEPS ||
        window->right > MOST_STEPS || window->same > 1 || window->period > MOST_STEPS ||
        (window->same && (window->left || window->right)))
        reader->failed = 1;
}

int elstm_window_time(const elstm_window *window, const elstm_io *io, elstm_time *time) {
    const uint32_t n[5] = {window->reach, window->stride, window->left, window->right,
                           window->same};
    return elstm_time_window(io, n, window->period, time);
}

int elstm_read_conv1d(elstm_reader *reader, elstm_conv1d *shape, const elstm_io *io) {
    const uint32_t inputs = io->in[0].width;
    shape->units = elstm_read_u32(reader);
    shape->taps = elstm_read_u32(reader);
    shape->groups = elstm_read_u32(reader);
    shape->dilation = elstm_read_u32(reader);
    elstm_read_window(reader, &shape->window);
    if (reader->failed || shape->units != io->out[0].width || shape->taps < 1 ||
        shape->taps > MOST_STEPS || shape->dilation < 1 || shape->dilation > MOST_STEPS ||
        shape->groups < 1 || shape->units % shape->groups != 0 || inputs % shape->groups != 0)
        return 0;
    const uint64_t reach = (uint64_t)(shape->taps - 1) * shape->dilation + 1;
    if (reach > MOST_STEPS) return 0;
    shape->window.reach = (uint32_t)reach;
    shape->columns = inputs / shape->groups;
    shape->depthwise = shape->groups > 1 && shape->columns == 1 && shape->units == shape->groups;
    return 1;
}

int elstm_read_pool1d(elstm_reader *reader, elstm_pool1d *pool, const elstm_io *io) {
    pool->average = elstm_read_u32(reader);
    pool->window.reach = elstm_read_u32(reader);
    pool->count_padding = elstm_read_u32(reader);
    elstm_read_window(reader, &pool->window);
    const uint32_t reach = pool->window.reach;
    return !reader->failed && pool->average <= 1 && pool->count_padding <= 1 && reach >= 1 &&
           reach <= MOST_STEPS && pool->window.left < reach && pool->window.right < reach &&
           io->in[0].width == io->out[0].width;
}

/* ---- rows ---- */

const void *elstm_windows_row(const elstm_windows *windows, uint32_t stream, int64_t at) {
    if (at >= windows->count) return NULL;
    if (at >= 0) return windows->rows + ((size_t)at * windows->streams + stream) * windows->row;
    if (windows->past == NULL || -at > (int64_t)windows->kept) return NULL;
    const unsigned char *state = windows->past + windows->state_size * stream;
    const history *past = (const history *)(const void *)state;
    const uint32_t back = (uint32_t)-at;
    if (back > past->filled) return NULL;
    const uint32_t place =
        past->next >= back ? past->next - back : past->next + windows->kept - back;
    return state + sizeof(history) + place * windows->row;
}

/* Keep the last of the rows at hand. */
static void keep(elstm_runner *runner, const elstm_op *op, const elstm_windows *windows) {
    const uint32_t kept = windows->kept;
    const int64_t from = windows->count > (int64_t)kept ? windows->count - (int64_t)kept : 0;
    for (uint32_t stream = 0; stream < windows->streams; ++stream) {
        unsigned char *state = runner->state + op->state_offset + windows->state_size * stream;
        history *past = (history *)(void *)state;
        for (int64_t at = from; at < windows->count; ++at) {
            memcpy(state + sizeof(history) + past->next * windows->row,
                   elstm_windows_row(windows, stream, at), windows->row);
            past->next = past->next + 1 == kept ? 0 : past->next + 1;
            past->filled += past->filled < kept;
        }
    }
}

/* Whatever a caller put back as state, what is kept lies inside it. */
static history *history_of(unsigned char *state, uint32_t kept) {
    history *past = (history *)(void *)state;
    if (past->next >= kept) past->next = 0;
    if (past->filled > kept) past->filled = kept;
    return past;
}

static elstm_windows windows_of(const elstm_runner *runner, const elstm_op *op) {
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    return (elstm_windows){.rows = in->data,
                           .row = in->row,
                           .streams = runner->limits.streams,
                           .state_size = runner->model->state_size,
                           .fill = in->zero,
                           .y = out->data,
                           .y_row = out->row};
}

static const unsigned char *past_of(const elstm_runner *runner, const elstm_op *op,
                                    const elstm_windows *windows) {
    unsigned char *state = runner->state + op->state_offset;
    for (uint32_t stream = 0; stream < windows->streams; ++stream)
        history_of(state + windows->state_size * stream, windows->kept);
    return state;
}

/* Rows of padding before a sequence of so many rows. */
static uint32_t padding(const elstm_window *window, int64_t rows) {
    if (!window->same || rows == 0) return window->left;
    const int64_t count = (rows + window->stride - 1) / window->stride;
    const int64_t total = (count - 1) * window->stride + window->reach - rows;
    return total > 0 ? (uint32_t)(total / 2) : 0;
}

/* A run of a window with a period: whole periods where they lie, others when they are complete. */
static void run_periods(elstm_runner *runner, const elstm_op *op, const elstm_window *window,
                        elstm_windows_compute *compute, uint32_t given) {
    unsigned char *state = runner->state + op->state_offset;
    history *past = history_of(state, window->period - 1);
    elstm_windows windows = windows_of(runner, op);
    const unsigned char *rows = windows.rows;
    const uint32_t period = window->period;
    const uint32_t left = padding(window, period);
    const uint32_t count =
        window->same ? (period + window->stride - 1) / window->stride
                     : (period + window->left + window->right - window->reach) / window->stride + 1;
    windows.count = period;
    windows.streams = 1; /* several only where a period is one row */
    windows.start = -(int64_t)left;
    windows.windows = count;
    while (given > 0) {
        uint32_t taken = period;
        windows.rows = rows;
        if (past->filled != 0 || given < period) {
            taken = period - past->filled < given ? period - past->filled : given;
            memcpy(state + sizeof(history) + past->filled * windows.row, rows, taken * windows.row);
            past->filled += taken;
            windows.rows = state + sizeof(history);
        }
        rows += taken * windows.row;
        given -= taken;
        if (past->filled != 0 && past->filled < period) continue;
        past->filled = 0;
        compute(runner, op, &windows);
        windows.y += count * windows.y_row;
    }
}

/* One row and one window a stream: each window ends with the row at hand, or is all of a period of
 * one row. */
void elstm_windows_step(elstm_runner *runner, const elstm_op *op, const elstm_window *window,
                        elstm_windows_compute *compute) {
    if (window->period) {
        run_periods(runner, op, window, compute, runner->limits.streams);
        return;
    }
    elstm_windows windows = windows_of(runner, op);
    windows.count = windows.windows = 1;
    windows.start = 1 - (int64_t)window->reach;
    windows.kept = window->reach - 1;
    if (windows.kept != 0) windows.past = past_of(runner, op, &windows);
    compute(runner, op, &windows);
    if (windows.kept != 0) keep(runner, op, &windows);
}

void elstm_windows_run(elstm_runner *runner, const elstm_op *op, const elstm_window *window,
                       elstm_windows_compute *compute) {
    if (window->period) {
        run_periods(runner, op, window, compute, runner->tensors[op->in].rows);
        return;
    }
    const elstm_tensor *in = &runner->tensors[op->in], *out = &runner->tensors[op->out];
    elstm_windows windows = windows_of(runner, op);
    windows.count = in->rows / windows.streams;
    windows.windows = out->rows / windows.streams;
    windows.start = (int64_t)(out->first * window->stride) -
                    (int64_t)padding(window, windows.count) - (int64_t)in->first;
    windows.kept = rows_kept(window);
    if (windows.kept != 0) windows.past = past_of(runner, op, &windows);
    compute(runner, op, &windows);
    if (windows.kept != 0) keep(runner, op, &windows);
}

/* ---- convolutions ---- */

uint64_t elstm_conv1d_rows(const elstm_conv1d *shape) {
    if (shape->depthwise) return elstm_groups(shape->units) * (uint64_t)ELSTM_GROUP;
    return elstm_groups(shape->units / shape->groups) * (uint64_t)ELSTM_GROUP * shape->groups;
}

uint32_t elstm_windows_gather(const elstm_windows *windows, const elstm_conv1d *shape, uint32_t k,
                              uint32_t group, uint32_t most, void *x, size_t x_row) {
    const uint32_t streams = windows->streams, left = windows->windows * streams - k;
    const uint32_t count = left < most ? left : most;
    const size_t size = windows->row / ((shape->columns * (size_t)shape->groups + 7) / 8 * 8);
    const size_t part = shape->columns * size;
    unsigned char *window = x;
    for (uint32_t j = k; j < k + count; ++j, window += x_row) {
        const int64_t start = windows->start + (int64_t)(j / streams) * shape->window.stride;
        for (uint32_t tap = 0; tap < shape->taps; ++tap) {
            const unsigned char *row =
                elstm_windows_row(windows, j % streams, start + (int64_t)tap * shape->dilation);
            if (row == NULL)
                memset(window + tap * part, windows->fill, part);
            else
                memcpy(window + tap * part, row + group * part, part);
        }
    }
    return count;
}
