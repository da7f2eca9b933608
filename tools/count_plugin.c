/* A plugin of QEMU's user mode: prints, one a line on standard error, how many instructions the
 * program ran between its marks. A mark is prctl(MARK), which does nothing anywhere.
 *
 * No package ships QEMU's header, so what is used of it is declared here, as the plugin interface
 * of version 1 (QEMU 4.2 and later) has it. A block of instructions is counted where it is entered;
 * only a fault would leave it early. */
#include <inttypes.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define EXPORT __attribute__((visibility("default")))
#define MARK 0x454C5354u
#define ADD_U64 0 /* QEMU_PLUGIN_INLINE_ADD_U64 */

typedef uint64_t plugin_id;
struct block;
struct info;

typedef void translated(plugin_id id, struct block *block);
typedef void called(plugin_id id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2,
                    uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8);

void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, translated *back);
void qemu_plugin_register_vcpu_tb_exec_inline(struct block *block, int operation, void *counter,
                                              uint64_t value);
void qemu_plugin_register_vcpu_syscall_cb(plugin_id id, called *back);
size_t qemu_plugin_tb_n_insns(const struct block *block);

EXPORT int qemu_plugin_version = 1;

static uint64_t instructions, before;

static void on_translated(plugin_id id, struct block *block) {
    (void)id;
    qemu_plugin_register_vcpu_tb_exec_inline(block, ADD_U64, &instructions,
                                             qemu_plugin_tb_n_insns(block));
}

static void on_call(plugin_id id, unsigned cpu, int64_t number, uint64_t a1, uint64_t a2,
                    uint64_t a3, uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8) {
    (void)id, (void)cpu, (void)number;
    (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    if ((uint32_t)a1 != MARK) return;
    fprintf(stderr, "%" PRIu64 "\n", instructions - before);
    before = instructions;
}

EXPORT int qemu_plugin_install(plugin_id id, const struct info *info, int argc, char **argv) {
    (void)info, (void)argc, (void)argv;
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translated);
    qemu_plugin_register_vcpu_syscall_cb(id, on_call);
    return 0;
}
