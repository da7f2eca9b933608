/* What a stranger's image is put through once it opens: single steps, chunked runs and the example,
 * at both doors, in heap blocks of exactly the promised size, so that a sanitizer sees any step
 * outside them. */
#ifndef USE_IMAGE_H
#define USE_IMAGE_H

#include "check.h"

static inline void *use_block(size_t size, size_t align) {
    void *block = NULL;
    CHECK(posix_memalign(&block, align, size == 0 ? 1 : size) == 0, "no memory for %zu bytes",
          size);
    return block;
}

/* Arrays of one kind of port, [rows][width] each. */
static inline void use_ports(const elstm_port *ports, uint32_t count, size_t rows, size_t size,
                             void **arrays) {
    for (uint32_t k = 0; k < count; ++k) {
        const size_t bytes = rows * ports[k].width * size;
        arrays[k] = use_block(bytes, sizeof(void *));
        memset(arrays[k], 0, bytes);
    }
}

static inline void use_give_back(void **arrays, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) free(arrays[k]);
}

/* Steps and runs at one door, on inputs of every size. */
static inline void use_door(elstm_runner *runner, int integers, uint32_t steps) {
    static const float reals[6] = {0, 1, -0.5f, 3e38f, -2e9f, 1e-40f};
    static const int16_t whole[6] = {0, 32767, -32768, 1, -255, 8000};
    const elstm_model *model = runner->model;
    const size_t rows = (size_t)steps * runner->limits.streams;
    const size_t size = integers ? sizeof(int16_t) : sizeof(float);
    void *x[ELSTM_MAX_PORTS], *y[ELSTM_MAX_PORTS];
    const float *xf[ELSTM_MAX_PORTS];
    const int16_t *xi[ELSTM_MAX_PORTS];
    float *yf[ELSTM_MAX_PORTS];
    int16_t *yi[ELSTM_MAX_PORTS];
    use_ports(model->input, model->inputs, rows, size, x);
    use_ports(model->output, model->outputs, rows, size, y);
    for (uint32_t k = 0; k < model->inputs; ++k) {
        for (size_t j = 0; j < rows * model->input[k].width; ++j) {
            if (integers)
                ((int16_t *)x[k])[j] = whole[(j + j / 5) % 6];
            else
                ((float *)x[k])[j] = reals[(j + j / 5) % 6];
        }
        xf[k] = x[k], xi[k] = x[k];
    }
    for (uint32_t k = 0; k < model->outputs; ++k) yf[k] = y[k], yi[k] = y[k];
    for (int repeat = 0; repeat < 2; ++repeat) {
        if (integers)
            elstm_step_s8(runner, xi, yi);
        else
            elstm_step_f32(runner, xf, yf);
    }
    for (int which = 0; which < 2; ++which) {
        const elstm_rows asked = which ? ELSTM_ROWS_EVERY : ELSTM_ROWS_MODEL;
        const elstm_status status = integers ? elstm_run_s8(runner, xi, yi, steps, asked)
                                             : elstm_run_f32(runner, xf, yf, steps, asked);
        CHECK(status == ELSTM_OK || status == ELSTM_ERR_UNSUPPORTED, "a run said %d", (int)status);
    }
    use_give_back(x, model->inputs);
    use_give_back(y, model->outputs);
}

/* 1 if the image opened and was used, 0 if it was refused. Kernel set number `turn`, round and
 * round; larger arenas than `most` are not tried. */
static inline int use_image(const unsigned char *image, size_t size, size_t most, uint32_t turn) {
    static const elstm_limits limits = {3, 2};
    const elstm_kernels *sets[8];
    uint32_t count = 0;
    elstm_model model;
    elstm_runner runner;
    const elstm_status status = elstm_model_open(&model, image, size);
    CHECK(status <= ELSTM_OK && status >= ELSTM_ERR_SELF_CHECK, "status %d", (int)status);
    if (status != ELSTM_OK) return 0;
    for (size_t k = 0; k < elstm_kernels_count() && count < 8; ++k)
        if (elstm_kernels_at(k) != NULL) sets[count++] = elstm_kernels_at(k);
    const elstm_kernels *set = sets[turn % count];
    const size_t arena_size = elstm_arena_size(&model, set, limits);
    if (arena_size > most) return 1;
    void *arena = use_block(arena_size, ELSTM_ALIGN);
    memset(arena, 0xA5, arena_size); /* whoever initialises must not count on zeros */
    CHECK(elstm_runner_init(&runner, &model, set, limits, arena, arena_size) == ELSTM_OK,
          "it opens but does not start");
    use_door(&runner, 0, 4);
    if (model.type == ELSTM_S8) use_door(&runner, 1, 4);
    elstm_self_check(&runner);
    free(arena);
    return 1;
}

#endif
