/* Times an image's steps and runs in C, for tools/bench_step.py and tools/bench_call.py. Linked
 * with src_c/ into a shared library. Every time is in nanoseconds a step. */
#define _POSIX_C_SOURCE 200809L
#include "edgelstm.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Rows of input; a run takes them all, single steps walk over the first few again and again. */
enum { ROWS = 128, WALKED = 16, WARM = 8 };

typedef struct {
    elstm_model model;
    elstm_runner runner;
    void *image, *arena;
    float *x, *y;       /* [ROWS][width] */
    int16_t *x16, *y16; /* the same in the integers of an s8 model's ports */
} bench;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* A runner for an image of one input and one output. x: ROWS rows. NULL where the CPU lacks the set
 * or the image is not valid. */
bench *bench_open(const void *image, size_t size, const char *kernels, const float *x) {
    bench *b = calloc(1, sizeof *b);
    const elstm_kernels *set = elstm_kernels_find(kernels);
    const elstm_limits limits = {ROWS, 1};
    if (b == NULL || set == NULL || posix_memalign(&b->image, 64, size) != 0) return NULL;
    memcpy(b->image, image, size);
    if (elstm_model_open(&b->model, b->image, size) != ELSTM_OK) return NULL;
    const size_t arena_size = elstm_arena_size(&b->model, set, limits);
    if (posix_memalign(&b->arena, 64, arena_size) != 0) return NULL;
    if (elstm_runner_init(&b->runner, &b->model, set, limits, b->arena, arena_size) != ELSTM_OK)
        return NULL;
    const size_t values = (size_t)ROWS * b->model.input[0].width;
    const size_t answers = (size_t)ROWS * b->model.output[0].width;
    b->x = malloc(values * sizeof(float));
    b->y = malloc(answers * sizeof(float));
    b->x16 = malloc(values * sizeof(int16_t));
    b->y16 = malloc(answers * sizeof(int16_t));
    if (b->x == NULL || b->y == NULL || b->x16 == NULL || b->y16 == NULL) return NULL;
    memcpy(b->x, x, values * sizeof(float));
    for (size_t k = 0; k < values; ++k) {
        const float q = x[k] / b->model.input[0].scale;
        b->x16[k] = (int16_t)(q > 32767 ? 32767 : q < -32767 ? -32767 : q);
    }
    return b;
}

/* Unless pool is NULL, each step has an input of its own. */
double bench_steps_f32(bench *b, unsigned steps, const float *const *pool) {
    const float *xs[1];
    float *ys[1] = {b->y};
    double start = 0;
    for (unsigned k = 0; k < steps + WARM; ++k) {
        if (k == WARM) start = now();
        const size_t row = k % WALKED * (size_t)b->model.input[0].width;
        xs[0] = pool != NULL && k >= WARM ? pool[k - WARM] : b->x + row;
        elstm_step_f32(&b->runner, xs, ys);
    }
    return (now() - start) / steps;
}

double bench_steps_s8(bench *b, unsigned steps) {
    const int16_t *xs[1];
    int16_t *ys[1] = {b->y16};
    double start = 0;
    for (unsigned k = 0; k < steps + WARM; ++k) {
        if (k == WARM) start = now();
        xs[0] = b->x16 + k % WALKED * (size_t)b->model.input[0].width;
        elstm_step_s8(&b->runner, xs, ys);
    }
    return (now() - start) / steps;
}

/* One run of ROWS steps, every answer written. */
double bench_run_f32(bench *b) {
    const float *xs[1] = {b->x};
    float *ys[1] = {b->y};
    const double start = now();
    elstm_run_f32(&b->runner, xs, ys, ROWS, ELSTM_ROWS_EVERY);
    return (now() - start) / ROWS;
}

double bench_run_s8(bench *b) {
    const int16_t *xs[1] = {b->x16};
    int16_t *ys[1] = {b->y16};
    const double start = now();
    elstm_run_s8(&b->runner, xs, ys, ROWS, ELSTM_ROWS_EVERY);
    return (now() - start) / ROWS;
}

/* The answers to all rows, from a reset state: [ROWS][outputs]. */
const float *bench_answers(bench *b) {
    const float *xs[1] = {b->x};
    float *ys[1] = {b->y};
    elstm_reset(&b->runner);
    elstm_run_f32(&b->runner, xs, ys, ROWS, ELSTM_ROWS_EVERY);
    return b->y;
}
