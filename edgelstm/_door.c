#if !defined(_WIN32)
#define _POSIX_C_SOURCE 200809L /* clock_gettime is not C99's */
#endif
#include "_door.h"

#include <string.h>

#if defined(_WIN32)
#include <windows.h>
#else
#include <time.h>
#endif

int door_finite(const float *x, size_t count) {
    uint32_t bad = 0;
    for (size_t k = 0; k < count; ++k) {
        uint32_t bits;
        memcpy(&bits, x + k, sizeof bits);
        bad |= (bits & 0x7F800000u) == 0x7F800000u;
    }
    return bad == 0;
}

#if defined(_WIN32)

int64_t door_now(void) {
    LARGE_INTEGER ticks,
        rate; /* of 10 MHz as a rule; whole seconds apart, so that nothing overflows */
    QueryPerformanceCounter(&ticks);
    QueryPerformanceFrequency(&rate);
    const int64_t seconds = ticks.QuadPart / rate.QuadPart;
    return seconds * 1000000000 + ticks.QuadPart % rate.QuadPart * 1000000000 / rate.QuadPart;
}

#else

int64_t door_now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (int64_t)at.tv_sec * 1000000000 + at.tv_nsec;
}

#endif
