/* What the door needs of C beside the core: a loop that wants to be fast, and the clock. */
#ifndef EDGELSTM_DOOR_H
#define EDGELSTM_DOOR_H

#include <stddef.h>
#include <stdint.h>

/* Whether none of the values is NaN or infinite. */
int door_finite(const float *x, size_t count);

/* Nanoseconds of a clock that only goes forward. */
int64_t door_now(void);

#endif
