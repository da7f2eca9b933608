/* From reset to main on any Cortex-M, and semihosting, through which QEMU prints and ends. Before
 * it ends it prints the most of the stack that main took. No C library runs before main. */
#include "board.h"

#define PAINT 0x5AA5C33Cu
#define PAINTED (32u << 10) /* bytes below the start of the stack, or what there is */
#define SYS_WRITE0 0x04u
#define SYS_EXIT_EXTENDED 0x20u
#define APPLICATION_EXIT 0x20026u
#define FAULT_STATUS 99

extern uint32_t board_data_image[], board_data[], board_data_end[];
extern uint32_t board_bss[], board_bss_end[], board_stack_top[];

int main(void);
void board_reset(void);

static void ask_host(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory", "cc");
}

static void end(uint32_t status) {
    const uint32_t block[2] = {APPLICATION_EXIT, status};
    for (;;) ask_host(SYS_EXIT_EXTENDED, block);
}

void board_print(const char *text) { ask_host(SYS_WRITE0, text); }

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

/* Between the end of the data and the stack there is nothing: no heap. */
static volatile uint32_t *lowest(void) {
    const uintptr_t end = (uintptr_t)board_bss_end, top = (uintptr_t)board_stack_top;
    return top - end > PAINTED ? board_stack_top - PAINTED / 4 : board_bss_end;
}

__attribute__((noinline)) void board_paint_stack(void) {
    volatile uint32_t *const own = __builtin_frame_address(0);
    for (volatile uint32_t *at = lowest(); at < own - 16; ++at) *at = PAINT;
}

uint32_t board_stack_used(void) {
    const volatile uint32_t *at = lowest();
    while (at < board_stack_top && *at == PAINT) ++at;
    return (uint32_t)((uintptr_t)board_stack_top - (uintptr_t)at);
}

void board_reset(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *(volatile uint32_t *)0xE000ED88u |= 0xFu << 20; /* CPACR: coprocessors 10 and 11, the FPU */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
#endif
    const uint32_t *from = board_data_image;
    for (volatile uint32_t *at = board_data; at < board_data_end; ++at) *at = *from++;
    for (volatile uint32_t *at = board_bss; at < board_bss_end; ++at) *at = 0;
    board_paint_stack();
    const int status = main();
    board_print("stack ");
    board_print_number(board_stack_used());
    board_print("\n");
    end((uint32_t)status);
}

static void fault(void) {
    board_print("FAULT, HFSR ");
    board_print_hex(*(volatile uint32_t *)0xE000ED2Cu);
    board_print(" CFSR ");
    board_print_hex(*(volatile uint32_t *)0xE000ED28u);
    board_print("\n");
    end(FAULT_STATUS);
}

typedef void handler(void);

/* The stack, reset, NMI and the faults; nothing here has interrupts. */
__attribute__((section(".vectors"), used)) static handler *const vectors[16] = {
    (handler *)board_stack_top, board_reset, fault, fault, fault, fault, fault, fault,
};
