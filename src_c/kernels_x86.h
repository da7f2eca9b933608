/* Private: what the x86 sets share. */
#ifndef ELSTM_KERNELS_X86_H
#define ELSTM_KERNELS_X86_H

#include "kernels.h"

/* For functions whose last arguments are constants: each call is a loop of its own. */
#define ELSTM_INLINE static inline __attribute__((always_inline))

/* Before every loop over registers: left to itself gcc 12 keeps arrays of them in memory. */
#if defined(__clang__)
#define ELSTM_UNROLL _Pragma("clang loop unroll(full)")
#else
#define ELSTM_UNROLL _Pragma("GCC unroll 32")
#endif

/* What the cell of two groups wants beside it, as they pack 32-bit rows of both to 16 bits without
 * sorting: a register of one gate is units 0 ... 3 of the first group, of the second, units 4 ... 7
 * of the first, of the second. */
typedef struct {
    int32_t shift[2][4 * ELSTM_GROUP];            /* in row order, counted from q->up */
    int16_t multiplier[4][2][2][ELSTM_GROUP / 2]; /* [gate][half][group][unit of the half] */
} elstm_cell_x86;

/* A lone last group stands in for the second of its pair. */
static inline void elstm_prepare_lstm_x86(elstm_requantize *q, uint32_t groups, int32_t *prepared) {
    elstm_cell_x86 *cells = (elstm_cell_x86 *)(void *)prepared;
    q->up = 0;
    for (uint32_t r = 0; r < groups * 4 * ELSTM_GROUP; ++r)
        if (q->shift[r] < 0) q->up = 4;
    for (uint32_t k = 0; k < groups; k += 2) {
        for (uint32_t j = 0; j < 2; ++j) {
            const uint32_t first = (k + j < groups ? k + j : k) * 4 * ELSTM_GROUP;
            for (uint32_t r = 0; r < 4 * ELSTM_GROUP; ++r) {
                const uint32_t gate = r / 8, half = r / 4 % 2;
                cells[k / 2].shift[j][r] = q->shift[first + r] + (int32_t)q->up;
                cells[k / 2].multiplier[gate][half][j][r % 4] = q->multiplier[first + r];
            }
        }
    }
    q->prepared = prepared;
}

#endif
