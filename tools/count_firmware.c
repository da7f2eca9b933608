/* Steps models between marks of tools/count_plugin.c and says what they take of memory, for
 * tools/measure_firmware.py: as firmware on an emulated board, or in user mode.
 *
 * Prints `scratch` and the bytes a unit that an LSTM's whole step takes. Reads a file of images,
 * each behind four u32: its size, max_steps of its limits, whether it has single steps, and 0. For
 * each image it prints `image` and: bytes of arena, most of the stack that opening, starting and
 * the self-check took, and that a step took, 0 without one; then, of one with steps, of each layer
 * the bytes that its first tensors read and written have, that it keeps, and that a step of it
 * works in. Its marks, in threes, the second and third behind n and 2 n calls: the whole step, then
 * each layer alone. */
#include "op.h"

#include <stddef.h>

#define CALLS 4
#define LARGEST (192 << 10) /* of an image, and of an arena */
#define WIDEST 512

extern const elstm_kernels COUNTED_SET;

static const elstm_kernels *const set = &COUNTED_SET;
static elstm_limits limits = {1, 1};
static elstm_model model;
static elstm_runner runner;
static unsigned char image[LARGEST] __attribute__((aligned(64)));
static unsigned char arena[LARGEST] __attribute__((aligned(64)));
static int16_t x[WIDEST], y[ELSTM_MAX_PORTS][WIDEST];
#if ELSTM_LINKS_F32
static float xf[WIDEST], yf[ELSTM_MAX_PORTS][WIDEST];
#endif
#if ELSTM_LINKS_TFL8
static const uint32_t zeros[WIDEST]; /* of whatever type a port has */
static uint32_t bytes[ELSTM_MAX_PORTS][WIDEST];
#endif

/* ---- where it runs ---- */

#if defined(__linux__)
#include <stdio.h>
#include <stdlib.h>

static FILE *file;
void count_mark(void);
__attribute__((noinline)) void count_mark(void) { __asm__ volatile("" ::: "memory"); }
static void print(const char *text) { fputs(text, stdout); }
static void print_number(uint32_t value) { printf("%lu", (unsigned long)value); }
static int open_images(void) { return (file = fopen("images.bin", "rb")) != NULL; }
static size_t read_bytes(void *to, size_t size) { return fread(to, 1, size, file); }
static void paint_stack(void) {}
static uint32_t stack_used(void) { return 0; }
#else
#include "board.h"

#define print board_print
#define print_number board_print_number
#define paint_stack board_paint_stack
#define stack_used board_stack_used

#if defined(__riscv)
static long file;

/* Linux's calls by hand, as in riscv.c. */
static long ask_host(long number, long a, const void *b, long c) {
    register long a7 __asm__("a7") = number;
    register long a0 __asm__("a0") = a;
    register const void *a1 __asm__("a1") = b;
    register long a2 __asm__("a2") = c;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2) : "memory");
    return a0;
}

static int open_images(void) { return (file = ask_host(56, -100, "images.bin", 0)) >= 0; }
static size_t read_bytes(void *to, size_t size) {
    return (size_t)ask_host(63, file, to, (long)size);
}
#else
static uint32_t handle;

static uint32_t ask_host(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory", "cc");
    return r0;
}

static int open_images(void) {
    static const char name[] = "images.bin";
    const uint32_t block[3] = {(uint32_t)(uintptr_t)name, 1, sizeof name - 1};
    return (handle = ask_host(0x01, block)) != UINT32_MAX; /* SYS_OPEN, "rb" */
}

static size_t read_bytes(void *to, size_t size) {
    const uint32_t block[3] = {handle, (uint32_t)(uintptr_t)to, size};
    return size - ask_host(0x06, block); /* SYS_READ says how many it did not read */
}
#endif
#endif

/* ---- what is counted ---- */

static void steps(uint32_t calls) {
    const int16_t *xs[ELSTM_MAX_PORTS];
    int16_t *ys[ELSTM_MAX_PORTS];
    for (uint32_t k = 0; k < ELSTM_MAX_PORTS; ++k) xs[k] = x, ys[k] = y[k];
#if ELSTM_LINKS_F32
    if (model.type == ELSTM_F32) {
        const float *xsf[ELSTM_MAX_PORTS];
        float *ysf[ELSTM_MAX_PORTS];
        for (uint32_t k = 0; k < ELSTM_MAX_PORTS; ++k) xsf[k] = xf, ysf[k] = yf[k];
        for (; calls > 0; --calls) elstm_step_f32(&runner, xsf, ysf);
        return;
    }
#endif
#if ELSTM_LINKS_TFL8
    if (model.type == ELSTM_TFL8) {
        const void *xsr[ELSTM_MAX_PORTS];
        void *ysr[ELSTM_MAX_PORTS];
        for (uint32_t k = 0; k < ELSTM_MAX_PORTS; ++k) xsr[k] = zeros, ysr[k] = bytes[k];
        for (; calls > 0; --calls) elstm_step_raw(&runner, xsr, ysr);
        return;
    }
#endif
    for (; calls > 0; --calls) elstm_step_s8(&runner, xs, ys);
}

static void layers(uint32_t layer, uint32_t calls) {
    for (; calls > 0; --calls) elstm_step_layer(&runner, layer);
}

static elstm_status start(size_t size) {
    elstm_status status = elstm_model_open(&model, image, size);
    if (status != ELSTM_OK) return status;
    status = elstm_runner_init(&runner, &model, set, limits, arena, sizeof arena);
    return status == ELSTM_OK ? elstm_self_check(&runner) : status;
}

static void print_numbers(const uint32_t *values, uint32_t count) {
    for (uint32_t k = 0; k < count; ++k) {
        print(" ");
        print_number(values[k]);
    }
}

static void numbers(const char *text, const uint32_t *values, uint32_t count) {
    print(text);
    print_numbers(values, count);
    print("\n");
}

/* Bytes of each layer, as a runner of single steps has them. */
static void print_memory(void) {
    elstm_walk walk;
    elstm_walk_start(&walk, &model);
    for (uint32_t k = 0; k < model.ops; ++k) {
        elstm_op op;
        elstm_io io;
        elstm_sizes sizes = {0, 0, 0};
        if (elstm_walk_next(&walk, &op, &io) != ELSTM_OK) return;
        for (uint32_t n = 0; n < io.reads + io.writes; ++n)
            (n < io.reads ? &io.in[n] : &io.out[n - io.reads])->rows = 1;
        if (op.layer->sizes != NULL) op.layer->sizes(&op, &io, set, 1, &sizes);
        const uint32_t found[4] = {runner.tensors[op.in].row, runner.tensors[op.out].row,
                                   (uint32_t)sizes.state, (uint32_t)sizes.scratch};
        print_numbers(found, 4);
    }
}

static int count(size_t size, int steady) {
    paint_stack();
    const uint32_t before = stack_used();
    const elstm_status status = start(size);
    const uint32_t opening = stack_used();
    if (status != ELSTM_OK) {
        const uint32_t failed[1] = {(uint32_t)-status};
        numbers("failed", failed, 1);
        return 0;
    }
    paint_stack();
    const uint32_t between = stack_used();
    if (steady) steps(1);
    const uint32_t stepping =
        steady ? stack_used() - between : 0; /* before all else that is called */
    const uint32_t found[3] = {(uint32_t)elstm_arena_size(&model, set, limits), opening - before,
                               stepping};
    print("image");
    print_numbers(found, 3);
    if (steady) print_memory();
    print("\n");
    if (!steady) return 1;
    steps(2);
    count_mark();
    steps(CALLS);
    count_mark();
    steps(2 * CALLS);
    count_mark();
    for (uint32_t k = 0; k < model.ops; ++k) {
        count_mark();
        layers(k, CALLS);
        count_mark();
        layers(k, 2 * CALLS);
        count_mark();
    }
    return 1;
}

int main(void) {
    const uint32_t kernels[1] = {set->step_s16 == NULL ? 16 : set->step_scratch};
    numbers("scratch", kernels, 1);
    for (int k = 0; k < WIDEST; ++k) {
        x[k] = (int16_t)(37 * k % 16000 - 8000);
#if ELSTM_LINKS_F32
        xf[k] = (float)(k % 7) / 7;
#endif
    }
    if (!open_images()) return 1;
    uint32_t size[4];
    while (read_bytes(size, sizeof size) == sizeof size) {
        if (size[0] > sizeof image || read_bytes(image, size[0]) != size[0]) return 2;
        limits.max_steps = size[1];
        if (!count(size[0], (int)size[2])) return 3;
    }
    return 0;
}
