/* Times elstm_step_f32 alone, for tools/bench_call.py. Linked with src_c/ into a shared library. */
#define _POSIX_C_SOURCE 200809L
#include "edgelstm.h"

#include <stdlib.h>
#include <time.h>

typedef struct {
    elstm_model model;
    elstm_runner runner;
    void *image, *arena;
    float *x, *y;
} bench;

bench *bench_open(const void *image, size_t size, const char *kernels) {
    bench *b = calloc(1, sizeof *b);
    const elstm_kernels *set = elstm_kernels_find(kernels);
    const elstm_limits limits = {1, 1};
    if (b == NULL || set == NULL || posix_memalign(&b->image, 64, size) != 0) return NULL;
    for (size_t k = 0; k < size; ++k)
        ((unsigned char *)b->image)[k] = ((const unsigned char *)image)[k];
    if (elstm_model_open(&b->model, b->image, size) != ELSTM_OK) return NULL;
    const size_t arena_size = elstm_arena_size(&b->model, set, limits);
    if (posix_memalign(&b->arena, 64, arena_size) != 0) return NULL;
    if (elstm_runner_init(&b->runner, &b->model, set, limits, b->arena, arena_size) != ELSTM_OK)
        return NULL;
    b->x = calloc(b->model.input[0].width, sizeof(float));
    b->y = calloc(b->model.output[0].width, sizeof(float));
    return b;
}

/* Nanoseconds a step, over `steps` steps: on the bound input, or, unless pool is NULL, each on an
 * input of its own. */
double bench_steps(bench *b, const float *const *pool, unsigned steps) {
    const float *xs[1] = {b->x};
    float *ys[1] = {b->y};
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (unsigned k = 0; k < steps; ++k) {
        if (pool != NULL) xs[0] = pool[k];
        elstm_step_f32(&b->runner, xs, ys);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    return ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / steps;
}
