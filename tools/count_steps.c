/* Steps and runs models between marks, for tools/count_instructions.py: count_steps STEPS IMAGE...
 *
 * For each set this machine has, each image and each mode: three marks of tools/count_plugin.c, the
 * second and third behind n and 2 n steps, and a line that names all four. n is STEPS in single
 * steps; a run's are RUN / 2 and RUN. */
#define _DEFAULT_SOURCE
#include "edgelstm.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define MARK 0x454C5354u
#define RUN 128
#define WIDEST 1024

static float floats[2][RUN * WIDEST];
static int16_t integers[2][RUN * WIDEST];

static void *aligned(size_t size) {
    void *memory = NULL;
    if (posix_memalign(&memory, ELSTM_ALIGN, size) != 0) exit(1);
    return memory;
}

/* `steps` of them, one by one or as one run. */
static void go(elstm_runner *runner, elstm_type type, int whole, uint32_t steps) {
    const float *xs[1] = {floats[0]};
    float *ys[1] = {floats[1]};
    const int16_t *xs8[1] = {integers[0]};
    int16_t *ys8[1] = {integers[1]};
    if (whole) {
        if (type == ELSTM_F32)
            elstm_run_f32(runner, xs, ys, steps, ELSTM_ROWS_MODEL);
        else
            elstm_run_s8(runner, xs8, ys8, steps, ELSTM_ROWS_MODEL);
        return;
    }
    for (; steps > 0; --steps) {
        if (type == ELSTM_F32)
            elstm_step_f32(runner, xs, ys);
        else
            elstm_step_s8(runner, xs8, ys8);
    }
}

static void count(const elstm_kernels *set, const char *path, int whole, uint32_t steps) {
    static elstm_model model;
    static elstm_runner runner;
    const elstm_limits limits = {RUN, 1};
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) exit(1);
    const size_t size = (size_t)ftell(file);
    void *image = aligned(size + 1);
    rewind(file);
    if (fread(image, 1, size, file) != size || elstm_model_open(&model, image, size) != ELSTM_OK)
        exit(1);
    fclose(file);
    const size_t needed = elstm_arena_size(&model, set, limits);
    void *arena = aligned(needed);
    if (elstm_runner_init(&runner, &model, set, limits, arena, needed) != ELSTM_OK) exit(1);
    go(&runner, model.type, whole, whole ? RUN : 2);
    prctl(MARK, 0, 0, 0, 0);
    go(&runner, model.type, whole, steps);
    prctl(MARK, 0, 0, 0, 0);
    go(&runner, model.type, whole, 2 * steps);
    prctl(MARK, 0, 0, 0, 0);
    printf("%s %s %s %u\n", elstm_kernels_name(set), whole ? "run" : "step", path, (unsigned)steps);
    free(arena);
    free(image);
}

int main(int argc, char **argv) {
    const uint32_t steps = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 0;
    if (steps == 0 || 2 * steps > RUN) return 2;
    for (int k = 0; k < RUN * WIDEST; ++k) {
        integers[0][k] = (int16_t)(37 * k % 3000);
        floats[0][k] = (float)(k % 7) / 7;
    }
    for (size_t s = 0; s < elstm_kernels_count(); ++s) {
        const elstm_kernels *set = elstm_kernels_at(s);
        if (set == NULL) continue;
        for (int k = 2; k < argc; ++k)
            for (int whole = 0; whole < 2; ++whole)
                count(set, argv[k], whole, whole ? RUN / 2 : steps);
    }
    return 0;
}
