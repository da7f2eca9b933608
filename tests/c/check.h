/* For the tests: assertions that name their case, seeded numbers, and buffers between fences. */
#ifndef CHECK_H
#define CHECK_H

#include "edgelstm.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* ---- assertions ---- */

/* The case at work: seed and sizes, printed when it fails or crashes. */
static char check_case[256] = "no case yet";

static inline void check_begin(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(check_case, sizeof check_case, format, list);
    va_end(list);
}

static inline void check_fail(const char *file, int line, const char *format, ...) {
    va_list list;
    fflush(stdout);
    fprintf(stderr, "FAIL %s:%d: ", file, line);
    va_start(list, format);
    vfprintf(stderr, format, list);
    va_end(list);
    fprintf(stderr, "\n  in case: %s\n", check_case);
    exit(1);
}

/* CHECK(condition, "format", ...): ends the program with the case's seed and sizes. */
#define CHECK(condition, ...)                                                                      \
    do {                                                                                           \
        if (!(condition)) check_fail(__FILE__, __LINE__, __VA_ARGS__);                             \
    } while (0)

#define CHECK_SIGNALS 4
static struct sigaction check_before[CHECK_SIGNALS];
static const int check_signals[CHECK_SIGNALS] = {SIGSEGV, SIGBUS, SIGILL, SIGABRT};

/* Name the case, then let the fault happen again in the hands of whoever handled it before. */
static inline void check_crashed(int number) {
    static const char text[] = "CRASH in case: ";
    if (write(2, text, sizeof text - 1) > 0 && write(2, check_case, strlen(check_case)) > 0 &&
        write(2, "\n", 1) > 0) {
        for (int k = 0; k < CHECK_SIGNALS; ++k)
            if (check_signals[k] == number) sigaction(number, &check_before[k], NULL);
        return;
    }
    _exit(1);
}

static inline void check_start(void) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = check_crashed;
    for (int k = 0; k < CHECK_SIGNALS; ++k) sigaction(check_signals[k], &action, &check_before[k]);
}

/* ---- options ---- */

/* The word after `name` on the command line, or NULL. */
static inline const char *check_option(int argc, char **argv, const char *name) {
    for (int k = 1; k + 1 < argc; ++k)
        if (strcmp(argv[k], name) == 0) return argv[k + 1];
    return NULL;
}

/* --kernels NAME: the set must be here and the one a runner gets by default. */
static inline void check_kernels_wanted(int argc, char **argv) {
    const char *name = check_option(argc, argv, "--kernels");
    if (name == NULL) return;
    check_begin("--kernels %s", name);
    CHECK(elstm_kernels_find(name) != NULL, "this machine cannot run the set");
    CHECK(strcmp(elstm_kernels_name(elstm_kernels_find(NULL)), name) == 0,
          "the best set here is %s", elstm_kernels_name(elstm_kernels_find(NULL)));
}

/* ---- numbers ---- */

/* xorshift32; tools/make_golden.py draws the same numbers. */
typedef struct {
    uint32_t state;
} check_random;

static inline check_random check_seeded(uint32_t seed) {
    const check_random random = {seed * 2654435769u | 1u};
    return random;
}

static inline uint32_t check_u32(check_random *random) {
    uint32_t v = random->state;
    v ^= v << 13;
    v ^= v >> 17;
    v ^= v << 5;
    return random->state = v;
}

/* low ... high, both included. */
static inline int32_t check_between(check_random *random, int32_t low, int32_t high) {
    const uint64_t span = (uint64_t)((int64_t)high - low) + 1;
    return (int32_t)(low + (int64_t)((uint64_t)check_u32(random) * span >> 32));
}

/* -1 ... 1. */
static inline float check_unit(check_random *random) {
    return (float)check_between(random, -(1 << 24), 1 << 24) / (float)(1 << 24);
}

/* ---- fenced buffers ---- */

#define CHECK_FENCES 24
#define CHECK_GUARD 64

/* A region lies between two pages nobody may touch, so reading past that end of a buffer which is
 * at one crashes whatever the compiler and the machine; guard bytes around the buffer catch writes.
 */
typedef struct {
    unsigned char *region, *data;
    size_t region_size, size, before, behind; /* guard bytes on each side */
} check_fence;

static check_fence check_fences[CHECK_FENCES];
static int check_fences_taken;

/* The next fence, its region at least `needed` bytes. */
static inline check_fence *check_fence_next(size_t needed) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    CHECK(check_fences_taken < CHECK_FENCES, "too many fenced buffers");
    check_fence *fence = &check_fences[check_fences_taken++];
    needed = (needed + page - 1) / page * page;
    if (needed > fence->region_size) {
        if (fence->region != NULL) munmap(fence->region - page, fence->region_size + 2 * page);
        fence->region_size = needed;
        fence->region = mmap(NULL, needed + 2 * page, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(fence->region != MAP_FAILED, "no memory for %zu bytes", needed);
        fence->region += page;
        CHECK(mprotect(fence->region - page, page, PROT_NONE) == 0 &&
                  mprotect(fence->region + needed, page, PROT_NONE) == 0,
              "no fences");
    }
    return fence;
}

static inline void *check_guard(check_fence *fence, size_t size, size_t before, size_t behind) {
    fence->size = size;
    fence->before = before;
    fence->behind = behind;
    memset(fence->data - before, 0xA5, before);
    memset(fence->data + size, 0xA5, behind);
    return fence->data;
}

/* A buffer that ends `gap` bytes before the page behind it. */
static inline void *check_take(size_t size, size_t gap) {
    check_fence *fence = check_fence_next(size + gap + CHECK_GUARD);
    fence->data = fence->region + fence->region_size - gap - size;
    return check_guard(fence, size, CHECK_GUARD, gap);
}

/* A buffer that starts `gap` bytes behind the page before it. */
static inline void *check_take_front(size_t size, size_t gap) {
    check_fence *fence = check_fence_next(size + gap + CHECK_GUARD);
    fence->data = fence->region + gap;
    return check_guard(fence, size, gap, CHECK_GUARD);
}

/* Nothing was written around any buffer taken after the first `from`. */
static inline void check_intact(int from) {
    for (int k = from; k < check_fences_taken; ++k) {
        const check_fence *fence = &check_fences[k];
        for (size_t at = 0; at < fence->before; ++at)
            CHECK(fence->data[-1 - (ptrdiff_t)at] == 0xA5, "wrote %zu bytes before buffer %d",
                  at + 1, k);
        for (size_t at = 0; at < fence->behind; ++at)
            CHECK(fence->data[fence->size + at] == 0xA5, "wrote %zu bytes behind buffer %d", at, k);
    }
}

/* The same; these buffers are given back. */
static inline void check_release_from(int from) {
    check_intact(from);
    check_fences_taken = from;
}

static inline void check_release(void) { check_release_from(0); }

/* ---- files ---- */

/* A file's bytes, aligned as an image must be; the caller frees them. */
static inline unsigned char *check_file(const char *path, size_t *size) {
    void *bytes = NULL;
    FILE *file = fopen(path, "rb");
    check_begin("file %s", path);
    CHECK(file != NULL, "cannot be opened");
    CHECK(fseek(file, 0, SEEK_END) == 0, "cannot be read");
    *size = (size_t)ftell(file);
    rewind(file);
    CHECK(posix_memalign(&bytes, ELSTM_ALIGN, *size + 1) == 0, "no memory");
    CHECK(fread(bytes, 1, *size, file) == *size, "cannot be read");
    fclose(file);
    return bytes;
}

/* ---- checksum ---- */

/* CRC-32 (IEEE 802.3), zlib's: start with 0, go on with what it gave. */
static inline uint32_t check_crc32(uint32_t crc, const void *data, size_t size) {
    static uint32_t table[256];
    const unsigned char *p = data;
    if (table[1] == 0)
        for (uint32_t k = 0; k < 256; ++k) {
            uint32_t v = k;
            for (int bit = 0; bit < 8; ++bit) v = v >> 1 ^ (v & 1 ? 0xEDB88320u : 0u);
            table[k] = v;
        }
    crc = ~crc;
    for (size_t k = 0; k < size; ++k) crc = crc >> 8 ^ table[(crc ^ p[k]) & 255];
    return ~crc;
}

/* Write an image's size and checksum anew, so that what was done to it meets the checks behind. */
static inline void check_mend(unsigned char *image, size_t size) {
    if (size < 20) return;
    for (int k = 0; k < 4; ++k) image[12 + k] = (unsigned char)(size >> 8 * k & 255);
    const uint32_t crc = check_crc32(check_crc32(0, image, 16), image + 20, size - 20);
    for (int k = 0; k < 4; ++k) image[16 + k] = (unsigned char)(crc >> 8 * k & 255);
}

#endif
