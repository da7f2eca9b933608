/* Steps a model so many times, for tools/count_instructions.py: count_steps IMAGE KERNELS STEPS. */
#include "edgelstm.h"

#include <stdio.h>
#include <stdlib.h>

static uint64_t image_memory[1 << 17], arena_memory[1 << 15];
static float floats[2][1024];
static int16_t integers[2][1024];

static unsigned char *aligned(void *memory) {
    const uintptr_t at = (uintptr_t)memory;
    return (unsigned char *)memory + (64 - at % 64) % 64;
}

int main(int argc, char **argv) {
    static elstm_model model;
    static elstm_runner runner;
    const elstm_limits limits = {1, 1};
    FILE *file = argc == 4 ? fopen(argv[1], "rb") : NULL;
    if (file == NULL) return 2;
    unsigned char *image = aligned(image_memory), *arena = aligned(arena_memory);
    const size_t size = fread(image, 1, sizeof image_memory - 64, file);
    fclose(file);
    const elstm_kernels *set = elstm_kernels_find(argv[2]);
    if (set == NULL || elstm_model_open(&model, image, size) != ELSTM_OK ||
        elstm_runner_init(&runner, &model, set, limits, arena, sizeof arena_memory - 64) !=
            ELSTM_OK)
        return 1;
    for (int k = 0; k < 1024; ++k) {
        integers[0][k] = (int16_t)(37 * k % 3000);
        floats[0][k] = (float)(k % 7) / 7;
    }
    const float *xs[1] = {floats[0]};
    float *ys[1] = {floats[1]};
    const int16_t *xs8[1] = {integers[0]};
    int16_t *ys8[1] = {integers[1]};
    for (long steps = atol(argv[3]); steps > 0; --steps) {
        if (model.type == ELSTM_F32)
            elstm_step_f32(&runner, xs, ys);
        else
            elstm_step_s8(&runner, xs8, ys8);
    }
    return 0;
}
