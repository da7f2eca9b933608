/* The core without a C library: compiled with -ffreestanding, linked with -nostdlib to this file
 * alone, which brings the five functions of string.h, the question to the CPU, and a way in and
 * out. An image comes in on standard input. No heap, no file and no float function of a library is
 * there to be called; whatever else the core needed would not link.
 *
 *     test_freestanding < IMAGE
 */
#include "edgelstm.h"

/* ---- what the core may ask for ---- */

void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
void *memset(void *to, int value, size_t size);
int memcmp(const void *a, const void *b, size_t size);
int strcmp(const char *a, const char *b);
unsigned long getauxval(unsigned long type);

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    for (size_t k = 0; k < size; ++k) ((char *)to)[k] = ((const char *)from)[k];
    return to;
}

void *memmove(void *to, const void *from, size_t size) {
    if ((uintptr_t)to < (uintptr_t)from) return memcpy(to, from, size);
    while (size-- > 0) ((char *)to)[size] = ((const char *)from)[size];
    return to;
}

void *memset(void *to, int value, size_t size) {
    for (size_t k = 0; k < size; ++k) ((char *)to)[k] = (char)value;
    return to;
}

int memcmp(const void *a, const void *b, size_t size) {
    const unsigned char *x = a, *y = b;
    for (size_t k = 0; k < size; ++k)
        if (x[k] != y[k]) return x[k] - y[k];
    return 0;
}

int strcmp(const char *a, const char *b) {
    while (*a != '\0' && *a == *b) ++a, ++b;
    return (unsigned char)*a - (unsigned char)*b;
}

/* Nobody answers for the CPU here, as on a microcontroller. */
unsigned long getauxval(unsigned long type) {
    (void)type;
    return 0;
}

/* ---- Linux, three system calls ---- */

#if defined(__x86_64__)
enum { SYS_READ = 0, SYS_WRITE = 1, SYS_EXIT = 60 };
__asm__(".globl _start\n_start: xor %ebp, %ebp\n and $-16, %rsp\n call start\n");
static long system_call(long number, long a, const void *b, size_t c) {
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}
#elif defined(__aarch64__)
enum { SYS_READ = 63, SYS_WRITE = 64, SYS_EXIT = 93 };
__asm__(".globl _start\n_start: mov x29, #0\n bl start\n");
static long system_call(long number, long a, const void *b, size_t c) {
    register long x8 __asm__("x8") = number;
    register long x0 __asm__("x0") = a;
    register const void *x1 __asm__("x1") = b;
    register size_t x2 __asm__("x2") = c;
    __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory");
    return x0;
}
#elif defined(__arm__)
enum { SYS_READ = 3, SYS_WRITE = 4, SYS_EXIT = 1 };
__asm__(".globl _start\n_start: mov fp, #0\n bl start\n");
static long system_call(long number, long a, const void *b, size_t c) {
    register long r7 __asm__("r7") = number;
    register long r0 __asm__("r0") = a;
    register const void *r1 __asm__("r1") = b;
    register size_t r2 __asm__("r2") = c;
    __asm__ volatile("svc 0" : "+r"(r0) : "r"(r7), "r"(r1), "r"(r2) : "memory");
    return r0;
}
/* what the compiler's division calls for a divisor of 0 */
int raise(int number);
int raise(int number) {
    system_call(SYS_EXIT, 128 + number, NULL, 0);
    return 0;
}
#else
#error "no system calls are known here for this machine"
#endif

static void say(const char *text) {
    size_t size = 0;
    while (text[size] != '\0') ++size;
    system_call(SYS_WRITE, 1, text, size);
}

static void finish(const char *text, int code) {
    say("test_freestanding: ");
    say(text);
    say("\n");
    system_call(SYS_EXIT, code, NULL, 0);
}

/* ---- static structs and arrays, as firmware has them ---- */

static elstm_model model;
static elstm_runner runner;
static unsigned char image[1 << 16] __attribute__((aligned(ELSTM_ALIGN)));
static unsigned char arena[1 << 16] __attribute__((aligned(ELSTM_ALIGN)));
static float input[1024], output[1024];

void start(void);

void start(void) {
    elstm_limits limits = {4, 2};
    const elstm_kernels *kernels = elstm_kernels_find(NULL);
    size_t size = 0, x = 0, y = 0;
    const float *xs[ELSTM_MAX_PORTS];
    float *ys[ELSTM_MAX_PORTS];
    for (;;) {
        const long got = system_call(SYS_READ, 0, image + size, sizeof image - size);
        if (got <= 0) break;
        size += (size_t)got;
    }
    elstm_status status = elstm_model_open(&model, image, size);
    if (status != ELSTM_OK) finish(elstm_status_text(status), 1);
    const int even = model.causal && !model.uneven;
    if (!even) limits = (elstm_limits){model.example_steps, 1};
    if (elstm_arena_size(&model, kernels, limits) > sizeof arena) finish("arena too large", 1);
    status = elstm_runner_init(&runner, &model, kernels, limits, arena, sizeof arena);
    if (status == ELSTM_OK) status = elstm_self_check(&runner);
    if (status != ELSTM_OK) finish(elstm_status_text(status), 1);
    for (uint32_t k = 0; even && k < model.inputs; ++k) {
        xs[k] = input + x;
        x += (size_t)model.input[k].width * 8; /* rows of 4 steps, 2 streams */
    }
    for (uint32_t k = 0; even && k < model.outputs; ++k) {
        ys[k] = output + y;
        y += (size_t)model.output[k].width * 8;
    }
    if (x > 1024 || y > 1024) finish("ports too wide", 1);
    for (size_t k = 0; k < 1024; ++k) input[k] = (float)(k % 17) / 8 - 1;
    if (even) elstm_step_f32(&runner, xs, ys);
    if (even && elstm_run_f32(&runner, xs, ys, 4, ELSTM_ROWS_EVERY) != ELSTM_OK)
        finish("no run", 1);
    say("test_freestanding: the example agrees without a C library, on ");
    say(elstm_kernels_name(kernels));
    say("\n");
    system_call(SYS_EXIT, 0, NULL, 0);
}
