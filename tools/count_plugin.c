/* A plugin of QEMU: prints, one a line, how many instructions the program ran between its marks. A
 * mark is a call of a function named count_mark or, in user mode, prctl(MARK), which does nothing
 * anywhere. Its options:
 *   out=FILE    prints there instead of on standard error
 *   blocks=FILE prints there, as "mark address", which blocks of instructions ran after each mark
 *   loads=on    three numbers a line: instructions, loads, stores; a vector may count once for
 *               each of its values
 *   folds=on    a Cortex-M's IT and LE, which may take no cycle, do not count
 *   gathers=on  a Cortex-M's vector load or store from as many addresses as it has values counts
 *               as so many instructions, as memory takes one after the other
 *
 * No package ships QEMU's header, so what is used of it is declared here, as the plugin interface
 * of version 1 (QEMU 4.2 and later) has it. A block of instructions is counted where it is entered;
 * only a fault would leave it early. */
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define MARK 0x454C5354u
#define ADD_U64 0 /* QEMU_PLUGIN_INLINE_ADD_U64 */
#define NO_REGISTERS 0
#define ANY_ACCESS 3

typedef uint64_t plugin_id;
struct block;
struct instruction;
struct info;

typedef void translated(plugin_id id, struct block *block);
typedef void called(plugin_id id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2,
                    uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);
typedef void entered(unsigned cpu, void *data);
typedef void accessed(unsigned cpu, uint32_t what, uint64_t address, void *data);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, translated *back);
void qemu_plugin_register_vcpu_tb_exec_inline(struct block *block, int operation, void *counter,
                                              uint64_t value);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id id, called *back);
void qemu_plugin_register_vcpu_tb_exec_cb(struct block *block, entered *back, int registers,
                                          void *data);
void qemu_plugin_register_vcpu_mem_cb(struct instruction *instruction, accessed *back,
                                      int registers, int accesses, void *data);
bool qemu_plugin_mem_is_store(uint32_t what);
uint64_t qemu_plugin_tb_vaddr(const struct block *block);
size_t qemu_plugin_tb_n_insns(const struct block *block);
struct instruction *qemu_plugin_tb_get_insn(const struct block *block, size_t index);
const char *qemu_plugin_insn_symbol(const struct instruction *instruction);
const void *qemu_plugin_insn_data(const struct instruction *instruction);
size_t qemu_plugin_insn_size(const struct instruction *instruction);

EXPORT int qemu_plugin_version = 1;

static uint64_t instructions, loads, stores;
static uint64_t before, loads_before, stores_before;
static bool counts_loads, weighs_gathers, folds;
static FILE *out, *blocks;
static unsigned marks; /* so far */

/* Where a block stands, and behind which mark it ran last. */
struct ran {
    uint64_t address;
    unsigned mark;
};

static void mark(void) {
    fprintf(out, "%" PRIu64, instructions - before);
    if (counts_loads)
        fprintf(out, " %" PRIu64 " %" PRIu64, loads - loads_before, stores - stores_before);
    fputc('\n', out);
    fflush(out);
    ++marks;
    before = instructions, loads_before = loads, stores_before = stores;
}

static void on_mark(unsigned cpu, void *data) {
    (void)cpu, (void)data;
    mark();
}

static void on_access(unsigned cpu, uint32_t what, uint64_t address, void *data) {
    (void)cpu, (void)address, (void)data;
    ++*(qemu_plugin_mem_is_store(what) ? &stores : &loads);
}

/* What an instruction counts: VLDR and VSTR of a vector of offsets, or of addresses, have as many
 * values as the lanes, whose size bits 7 and 8 tell. */
static size_t weight(const struct instruction *instruction) {
    const unsigned char *p = qemu_plugin_insn_data(instruction);
    if (qemu_plugin_insn_size(instruction) != 4) return 1;
    const unsigned head = p[0] | (unsigned)p[1] << 8, tail = p[2] | (unsigned)p[3] << 8;
    if ((head & 0xEFA0u) == 0xEC80u && (tail & 0x1E00u) == 0x0E00u) return 16u >> (tail >> 7 & 3);
    if ((head & 0xFF00u) == 0xFD00u && (tail & 0x1E00u) == 0x1E00u) return tail & 0x100u ? 2 : 4;
    return 1;
}

/* IT, or LE: the end of a loop that was entered by DLS or WLS. */
static bool may_fold(const struct instruction *instruction) {
    const unsigned char *p = qemu_plugin_insn_data(instruction);
    if (qemu_plugin_insn_size(instruction) == 2) return p[1] == 0xBF && (p[0] & 0x0F) != 0;
    return p[1] == 0xF0 && (p[0] == 0x0F || p[0] == 0x1F || p[0] == 0x2F) && (p[3] & 0xF0) == 0xC0;
}

static void on_block(unsigned cpu, void *data) {
    struct ran *ran = data;
    (void)cpu;
    if (marks > 0 && ran->mark != marks) {
        fprintf(blocks, "%u %" PRIx64 "\n", marks, ran->address);
        fflush(blocks); /* a program may end without QEMU's own end */
    }
    ran->mark = marks;
}

static void on_translated(plugin_id id, struct block *block) {
    (void)id;
    const size_t count = qemu_plugin_tb_n_insns(block);
    size_t counted = count;
    const char *symbol = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(block, 0));
    for (size_t k = 0; weighs_gathers && k < count; ++k)
        counted += weight(qemu_plugin_tb_get_insn(block, k)) - 1;
    for (size_t k = 0; folds && k < count; ++k)
        counted -= may_fold(qemu_plugin_tb_get_insn(block, k));
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &instructions, counted);
    for (size_t k = 0; counts_loads && k < count; ++k)
        qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(block, k), on_access, NO_REGISTERS,
                                         ANY_ACCESS, NULL);
    if (blocks != NULL) {
        struct ran *ran = malloc(sizeof *ran); /* for as long as QEMU runs */
        *ran = (struct ran){qemu_plugin_tb_vaddr(block), 0};
        qemu_plugin_register_vcpu_tb_exec_cb(block, on_block, NO_REGISTERS, ran);
    }
    /* a function this short is one block */
    if (symbol != NULL && strcmp(symbol, "count_mark") == 0)
        qemu_plugin_register_vcpu_tb_exec_cb(block, on_mark, NO_REGISTERS, NULL);
}

static void on_call(plugin_id id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2,
                    uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)cpu, (void)number;
    (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if ((uint32_t)a1 == MARK) mark();
}

EXPORT int qemu_plugin_install(plugin_id id, const struct info *info, int argc, char **argv) {
    (void)info;
    out = stderr;
    for (int k = 0; k < argc; ++k)
        if (strncmp(argv[k], "out=", 4) == 0)
            out = fopen(argv[k] + 4, "w");
        else if (strncmp(argv[k], "blocks=", 7) == 0)
            blocks = fopen(argv[k] + 7, "w");
        else if (strcmp(argv[k], "loads=on") == 0)
            counts_loads = true;
        else if (strcmp(argv[k], "folds=on") == 0)
            folds = true;
        else if (strcmp(argv[k], "gathers=on") == 0)
            weighs_gathers = true;
        else
            out = NULL;
    if (out == NULL) return -1; /* QEMU ends, and names the plugin */
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
