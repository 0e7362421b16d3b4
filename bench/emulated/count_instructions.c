// A plugin for qemu's user mode that counts executed instructions, by mnemonic
// when asked to: what a program costs on a processor that is not at hand.
//
//   cc -shared -fPIC -O2 bench/emulated/count_instructions.c -o count.so
//   qemu-aarch64 -plugin ./count.so[,names=on] PROGRAM...
//
// Prints to the emulator's log (-d plugin). The few functions of the plugin
// interface, version 1, are declared here: distributions do not package
// qemu-plugin.h.
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_info;
enum { kInlineAddU64 = 0 };

void qemu_plugin_register_vcpu_tb_trans_cb(
    qemu_plugin_id_t id,
    void (*callback)(qemu_plugin_id_t, struct qemu_plugin_tb*));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t id,
                                    void (*callback)(qemu_plugin_id_t, void*),
                                    void* data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb* block);
struct qemu_plugin_insn* qemu_plugin_tb_get_insn(
    const struct qemu_plugin_tb* block, size_t index);
char* qemu_plugin_insn_disas(const struct qemu_plugin_insn* instruction);
void qemu_plugin_register_vcpu_insn_exec_inline(
    struct qemu_plugin_insn* instruction, int operation, void* counter,
    uint64_t amount);
void qemu_plugin_outs(const char* text);

EXPORT int qemu_plugin_version = 1;

enum { kMaxNames = 1024 };
static struct {
  char name[16];
  uint64_t count;
} names[kMaxNames];
static size_t name_count;
static uint64_t total;
static bool by_name;

static uint64_t* CounterOf(const char* disassembly) {
  char name[16] = {0};
  for (size_t i = 0; i + 1 < sizeof(name) && disassembly[i] > ' '; ++i)
    name[i] = disassembly[i];
  size_t i = 0;
  while (i < name_count && strcmp(names[i].name, name) != 0) ++i;
  if (i == name_count && name_count < kMaxNames)
    memcpy(names[name_count++].name, name, sizeof(name));
  return i < kMaxNames ? &names[i].count : NULL;
}

static void Translated(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
  (void)id;
  for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); ++i) {
    struct qemu_plugin_insn* instruction = qemu_plugin_tb_get_insn(block, i);
    qemu_plugin_register_vcpu_insn_exec_inline(instruction, kInlineAddU64,
                                               &total, 1);
    if (!by_name) continue;
    char* text = qemu_plugin_insn_disas(instruction);
    uint64_t* counter = CounterOf(text);
    if (counter != NULL)
      qemu_plugin_register_vcpu_insn_exec_inline(instruction, kInlineAddU64,
                                                 counter, 1);
    free(text);
  }
}

static void AtExit(qemu_plugin_id_t id, void* data) {
  (void)id;
  (void)data;
  char line[64];
  snprintf(line, sizeof(line), "instructions %llu\n",
           (unsigned long long)total);
  qemu_plugin_outs(line);
  for (size_t i = 0; i < name_count; ++i) {
    snprintf(line, sizeof(line), "%.15s %llu\n", names[i].name,
             (unsigned long long)names[i].count);
    qemu_plugin_outs(line);
  }
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id,
                               const struct qemu_info* info, int argc,
                               char** argv) {
  (void)info;
  for (int i = 0; i < argc; ++i)
    if (strcmp(argv[i], "names=on") == 0) by_name = true;
  qemu_plugin_register_vcpu_tb_trans_cb(id, Translated);
  qemu_plugin_register_atexit_cb(id, AtExit, NULL);
  return 0;
}
