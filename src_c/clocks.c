/* At which steps tensors have rows: edgelstm/timing.py in C. */
#include "op.h"

/* Steps are counted so far, 1,115 years of milliseconds, and no step brings more rows: then no
 * count overflows. */
#define MOST_STEPS ((uint64_t)1 << 45)
#define MOST_ROWS ((uint64_t)1 << 18)

static uint64_t divided_up(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

/* Rows of a clock for so many of its parent's. */
static uint64_t rows_of(const elstm_clock *clock, uint64_t rows) {
    const uint32_t *n = clock->n;
    switch (clock->kind) {
    case ELSTM_CLOCK_SPLIT: return rows * n[0];
    case ELSTM_CLOCK_GROUP: return rows / n[0];
    case ELSTM_CLOCK_FIXED: return rows == 0 ? 0 : n[0];
    case ELSTM_CLOCK_CROP: return rows < (uint64_t)n[0] + n[1] ? 0 : rows - n[0] - n[1];
    case ELSTM_CLOCK_PAD: return rows == 0 ? 0 : rows + n[0] + n[1];
    case ELSTM_CLOCK_WINDOWS:
        if (n[4]) return divided_up(rows, n[1]);
        if (rows == 0 || rows + n[2] + n[3] < n[0]) return 0;
        return (rows + n[2] + n[3] - n[0]) / n[1] + 1;
    }
    return rows;
}

/* The most rows that so many of its parent's bring, whenever they come. */
static uint64_t most_of(const elstm_clock *clock, uint64_t rows) {
    const uint64_t first = rows_of(clock, rows);
    uint64_t later = first;
    if (clock->kind == ELSTM_CLOCK_GROUP) later = divided_up(rows, clock->n[0]);
    if (clock->kind == ELSTM_CLOCK_CROP) later = rows;
    if (clock->kind == ELSTM_CLOCK_WINDOWS) later = divided_up(rows, clock->n[1]);
    return first > later ? first : later;
}

uint64_t elstm_clock_rows(const elstm_model *model, uint32_t clock, uint64_t steps,
                          const uint32_t *lengths) {
    const elstm_clock *at = &model->clock[clock];
    if (at->kind == ELSTM_CLOCK_INPUT && steps != 0 && lengths != NULL && lengths[at->n[0]] != 0)
        return lengths[at->n[0]];
    if (clock == 0) return steps > MOST_STEPS ? MOST_STEPS : steps;
    return rows_of(at, elstm_clock_rows(model, at->parent, steps, lengths));
}

uint64_t elstm_clock_most(const elstm_model *model, uint32_t clock, uint32_t steps) {
    const elstm_clock *at = &model->clock[clock];
    return clock == 0 ? steps : most_of(at, elstm_clock_most(model, at->parent, steps));
}

/* ---- found while opening ---- */

static int same(const elstm_clock *a, const elstm_clock *b) {
    int equal = a->kind == b->kind && a->parent == b->parent;
    for (int k = 0; k < 5; ++k) equal &= a->n[k] == b->n[k];
    return equal;
}

/* The clock that a change makes of another, added where it is new. */
static uint32_t changed(elstm_model *model, uint32_t parent, const elstm_clock *change) {
    const elstm_clock *from = &model->clock[parent];
    elstm_clock made = *change;
    made.parent = parent;
    if (change->n[0] == 1 &&
        (change->kind == ELSTM_CLOCK_SPLIT || change->kind == ELSTM_CLOCK_GROUP))
        return parent;
    /* what was split so is whole again */
    if (change->kind == ELSTM_CLOCK_GROUP && from->kind == ELSTM_CLOCK_SPLIT &&
        from->n[0] == change->n[0])
        return from->parent;
    for (uint32_t k = 1; k < model->clocks; ++k)
        if (same(&model->clock[k], &made)) return k;
    if (model->clocks == ELSTM_MAX_CLOCKS) return ELSTM_MAX_CLOCKS;
    model->clock[model->clocks] = made;
    return model->clocks++;
}

elstm_status elstm_clock_find(elstm_model *model, elstm_time *time) {
    for (uint32_t k = 0; k < time->changes; ++k) {
        time->clock = changed(model, time->clock, &time->change[k]);
        if (time->clock == ELSTM_MAX_CLOCKS) return ELSTM_ERR_UNSUPPORTED;
        if (elstm_clock_most(model, time->clock, 1) > MOST_ROWS) return ELSTM_ERR_UNSUPPORTED;
    }
    return ELSTM_OK;
}

void elstm_time_change(elstm_time *time, uint32_t kind, uint32_t a, uint32_t b) {
    time->change[time->changes++] = (elstm_clock){kind, 0, {a, b, 0, 0, 0}};
}

/* ---- what layers read ---- */

int elstm_time_sequence(const elstm_io *io, elstm_time *time) {
    (void)time;
    return io->in[0].single == ELSTM_SEQUENCE;
}

int elstm_time_cell(const elstm_io *io, uint32_t sequences, elstm_time *time) {
    for (uint32_t k = 0; k < io->reads; ++k) {
        if (k < sequences) {
            if (io->in[k].single != io->in[0].single || io->in[k].single == ELSTM_CONSTANT)
                return 0;
            time->together |= 1u << k;
        } else {
            if (io->in[k].single == ELSTM_SEQUENCE) return 0;
            time->waits |= io->in[k].single == ELSTM_SINGLE;
        }
    }
    return 1;
}

int elstm_time_join(const elstm_io *io, elstm_time *time) {
    uint32_t all = ELSTM_CONSTANT;
    for (uint32_t k = 0; k < io->reads; ++k)
        if (io->in[k].single < all) all = io->in[k].single;
    time->single = all;
    for (uint32_t k = io->reads; k-- > 0;) {
        const elstm_form *in = &io->in[k];
        /* rows of the first that has not just one for all */
        if (in->single == all) time->clock = in->clock;
        if (in->single == all && all != ELSTM_CONSTANT) time->together |= 1u << k;
        if (in->single == ELSTM_SINGLE && all == ELSTM_SEQUENCE) time->waits = 1;
    }
    return 1;
}

int elstm_time_window(const elstm_io *io, const uint32_t n[5], uint32_t period, elstm_time *time) {
    const elstm_clock windows = {ELSTM_CLOCK_WINDOWS, 0, {n[0], n[1], n[2], n[3], n[4]}};
    if (io->in[0].single != ELSTM_SEQUENCE) return 0;
    if (period != 0) {
        const uint64_t rows = rows_of(&windows, period);
        if (rows == 0 || rows > 65536) return 0;
        elstm_time_change(time, ELSTM_CLOCK_GROUP, period, 0);
        elstm_time_change(time, ELSTM_CLOCK_SPLIT, (uint32_t)rows, 0);
        time->multiple = period;
        return 1;
    }
    time->waits = n[3] != 0 || (n[4] && n[0] > 1);
    if (n[1] > 1 || (!n[4] && (uint64_t)n[2] + n[3] + 1 != n[0]))
        time->change[time->changes++] = windows;
    return 1;
}
