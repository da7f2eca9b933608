/* What startup.c is for Cortex-M, for 32-bit RISC-V in QEMU's user mode: Linux's calls by hand, for
 * there is a compiler for 32 bits and no C library of Linux's. */
#include "board.h"

#define PAINT 0x5AA5C33Cu
#define PAINTED (32u << 10) /* bytes below the start of the stack */
#define SYS_WRITE 64
#define SYS_EXIT 93

int main(void);
void begin(void);
void _start(void);

static volatile uint32_t *top;

static void ask_host(long number, long a, long b, long c) {
    register long a7 __asm__("a7") = number;
    register long a0 __asm__("a0") = a;
    register long a1 __asm__("a1") = b;
    register long a2 __asm__("a2") = c;
    __asm__ volatile("ecall" : "+r"(a0) : "r"(a7), "r"(a1), "r"(a2) : "memory");
}

void board_print(const char *text) {
    long size = 0;
    while (text[size] != 0) ++size;
    ask_host(SYS_WRITE, 1, (long)text, size);
}

void board_print_number(uint32_t value) {
    char text[11];
    char *at = &text[10];
    for (*at = 0; value > 9; value /= 10) *--at = (char)('0' + value % 10);
    *--at = (char)('0' + value);
    board_print(at);
}

void board_print_hex(uint32_t value) {
    char text[9];
    for (int k = 0; k < 8; ++k) text[k] = "0123456789abcdef"[value >> (28 - 4 * k) & 15];
    text[8] = 0;
    board_print(text);
}

__attribute__((noinline, used)) void count_mark(void) { __asm__ volatile("" ::: "memory"); }

__attribute__((noinline)) void board_paint_stack(void) {
    volatile uint32_t *const own = __builtin_frame_address(0);
    for (volatile uint32_t *at = top - PAINTED / 4; at < own - 32; ++at) *at = PAINT;
}

uint32_t board_stack_used(void) {
    const volatile uint32_t *at = top - PAINTED / 4;
    while (at < top && *at == PAINT) ++at;
    return (uint32_t)((uintptr_t)top - (uintptr_t)at);
}

void begin(void) {
    top = __builtin_frame_address(0);
    board_paint_stack();
    const int status = main();
    board_print("stack ");
    board_print_number(board_stack_used());
    board_print("\n");
    ask_host(SYS_EXIT, status, 0, 0);
}

/* Small data is reached from the global pointer, which is set first. */
__attribute__((naked)) void _start(void) {
    __asm__ volatile(
        ".option push\n\t.option norelax\n\tla gp, __global_pointer$\n\t.option pop\n\tj begin");
}
