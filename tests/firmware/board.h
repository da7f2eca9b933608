/* What a program on an emulated Cortex-M has beside the core: text out, an end, its stack measured.
 * The program is main; startup.c ends the emulator with what it returns. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

void board_print(const char *text); /* as it is, without a new line */
void board_print_number(uint32_t value);
void board_print_hex(uint32_t value); /* 8 digits */
void board_paint_stack(void);         /* what was used before does not count */
uint32_t board_stack_used(void);      /* bytes, at most, since then */
void count_mark(void);                /* a mark for tools/count_plugin.c */

#endif
