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

/* Which pair of doors: floats, integers of s8 models, each port's own type. */
enum { USE_FLOATS, USE_INTEGERS, USE_RAW };

/* The arrays of an input or output at one door, so many rows each. */
typedef struct {
    void *data[ELSTM_MAX_PORTS];
    float *real[ELSTM_MAX_PORTS];
    int16_t *whole[ELSTM_MAX_PORTS];
} use_arrays;

static inline size_t use_size(const elstm_port *port, int door) {
    if (door != USE_RAW) return door == USE_FLOATS ? sizeof(float) : sizeof(int16_t);
    return port->type == ELSTM_F32   ? sizeof(float)
           : port->type == ELSTM_S16 ? sizeof(int16_t)
                                     : sizeof(int8_t);
}

static inline void use_take(use_arrays *arrays, uint32_t k, size_t rows, const elstm_port *port,
                            int door) {
    const size_t bytes = rows * port->width * use_size(port, door);
    arrays->data[k] = use_block(bytes, sizeof(void *));
    memset(arrays->data[k], 0, bytes);
    arrays->real[k] = arrays->data[k];
    arrays->whole[k] = arrays->data[k];
}

static inline void use_give_back(use_arrays *arrays, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) free(arrays->data[k]);
}

/* Inputs of every size, `steps` steps. */
static inline void use_inputs(const elstm_runner *runner, int door, uint32_t steps, use_arrays *x) {
    static const float reals[6] = {0, 1, -0.5f, 3e38f, -2e9f, 1e-40f};
    static const int16_t whole[6] = {0, 32767, -32768, 1, -255, 8000};
    for (uint32_t k = 0; k < runner->model->inputs; ++k) {
        const elstm_port *port = &runner->model->input[k];
        const uint32_t own = runner->lengths[k] == 0 ? steps : runner->lengths[k];
        const size_t rows = (size_t)(port->single ? 1 : own) * runner->limits.streams;
        use_take(x, k, rows, port, door);
        for (size_t j = 0; j < rows * port->width; ++j) {
            const int8_t narrow = (int8_t)whole[(j + j / 5) % 6];
            if (use_size(port, door) == sizeof(int16_t))
                x->whole[k][j] = whole[(j + j / 5) % 6];
            else if (use_size(port, door) == sizeof(float))
                x->real[k][j] = reals[(j + j / 5) % 6];
            else
                memcpy((unsigned char *)x->data[k] + j, &narrow, 1);
        }
    }
}

/* A run into arrays of just the rows that it is said to give; too many are not tried. */
static inline void use_run(elstm_runner *runner, int door, uint32_t steps, elstm_rows asked,
                           size_t most) {
    const elstm_model *model = runner->model;
    use_arrays x, y;
    uint64_t values = 0;
    uint32_t lengths[ELSTM_MAX_PORTS];
    for (uint32_t k = 0; k < model->inputs; ++k)
        lengths[k] = model->input[k].own ? (steps + k) % 4 : 0;
    elstm_set_lengths(runner, lengths);
    for (uint32_t k = 0; k < model->outputs; ++k)
        values += (uint64_t)elstm_output_rows(runner, k, steps, asked) * model->output[k].width;
    if (values * runner->limits.streams > most) return;
    use_inputs(runner, door, steps, &x);
    for (uint32_t k = 0; k < model->outputs; ++k)
        use_take(&y, k, (size_t)elstm_output_rows(runner, k, steps, asked) * runner->limits.streams,
                 &model->output[k], door);
    const elstm_status status =
        door == USE_RAW ? elstm_run_raw(runner, (const void *const *)x.data, y.data, steps, asked)
        : door == USE_INTEGERS
            ? elstm_run_s8(runner, (const int16_t *const *)x.whole, y.whole, steps, asked)
            : elstm_run_f32(runner, (const float *const *)x.real, y.real, steps, asked);
    const int refused = elstm_run_refusal(runner, steps, asked).why != ELSTM_FITS;
    CHECK(status == ELSTM_OK || status == ELSTM_ERR_UNSUPPORTED, "a run said %d", (int)status);
    CHECK(status == ELSTM_OK || refused || !model->causal, "a run was refused without a reason");
    use_give_back(&x, model->inputs);
    use_give_back(&y, model->outputs);
}

/* Steps and runs at one door. */
static inline void use_door(elstm_runner *runner, int door, size_t most) {
    const elstm_model *model = runner->model;
    use_arrays x, y;
    use_inputs(runner, door, 1, &x);
    for (uint32_t k = 0; k < model->outputs; ++k)
        use_take(&y, k, runner->limits.streams, &model->output[k], door);
    for (int repeat = 0; repeat < 2; ++repeat) {
        if (door == USE_RAW)
            elstm_step_raw(runner, (const void *const *)x.data, y.data);
        else if (door == USE_INTEGERS)
            elstm_step_s8(runner, (const int16_t *const *)x.whole, y.whole);
        else
            elstm_step_f32(runner, (const float *const *)x.real, y.real);
    }
    use_give_back(&x, model->inputs);
    use_give_back(&y, model->outputs);
    for (uint32_t steps = 3; steps <= 4; ++steps) {
        use_run(runner, door, steps, ELSTM_ROWS_MODEL, most);
        use_run(runner, door, steps, ELSTM_ROWS_EVERY, most);
    }
}

/* 1 if the image opened and was used, 0 if it was refused. Kernel set number `turn`, round and
 * round; larger arenas than `most` are not tried. */
static inline int use_image(const unsigned char *image, size_t size, size_t most, uint32_t turn) {
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
    const int alone = model.uneven || !model.causal;
    const elstm_limits limits = {3, alone ? 1 : 2}, streams = {3, 2};
    const size_t arena_size = elstm_arena_size(&model, set, limits);
    if (arena_size > most || elstm_arena_size(&model, set, streams) > most) return 1;
    void *arena = use_block(elstm_arena_size(&model, set, streams), ELSTM_ALIGN);
    if (alone)
        CHECK(elstm_runner_init(&runner, &model, set, streams, arena,
                                elstm_arena_size(&model, set, streams)) == ELSTM_ERR_UNSUPPORTED,
              "two streams are not refused");
    free(arena);
    arena = use_block(arena_size, ELSTM_ALIGN);
    memset(arena, 0xA5, arena_size); /* whoever initialises must not count on zeros */
    CHECK(elstm_runner_init(&runner, &model, set, limits, arena, arena_size) == ELSTM_OK,
          "it opens but does not start");
    use_door(&runner, USE_FLOATS, most);
    if (model.type == ELSTM_S8) use_door(&runner, USE_INTEGERS, most);
    use_door(&runner, USE_RAW, most);
    elstm_self_check(&runner);
    free(arena);
    return 1;
}

#endif
