/* Summarizes a text in its own sentences, within a memory cap.
 *   cc summarize.c $(pkg-config --cflags --libs dapple-c) -o summarize
 *   ./summarize model.gguf document.txt 512     (MiB; none: what is free) */
#include <dapple/dapple.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char kQuestion[] = "\n\nSummarize the text above.";
static int fail(const char* what, const dapple_error* error) {
  fprintf(stderr, "summarize: %s: %s\n", what, error->message);
  return error->code == DAPPLE_DOES_NOT_FIT ? 3 : 1;
}

/* The file's text with the question behind it; *bytes is without it. */
static char* read_document(const char* path, size_t* bytes) {
  FILE* file = fopen(path, "rb");
  char* text = NULL;
  long size = -1;
  if (file != NULL && fseek(file, 0, SEEK_END) == 0) size = ftell(file);
  if (size >= 0) text = calloc((size_t)size + sizeof(kQuestion), 1);
  if (text != NULL) {
    rewind(file);
    *bytes = fread(text, 1, (size_t)size, file);
    memcpy(text + *bytes, kQuestion, sizeof(kQuestion));
  }
  if (file != NULL) fclose(file);
  return text;
}

int main(int argc, char** argv) {
  dapple_error error;
  dapple_model_options open = {.struct_size = sizeof(open)};
  dapple_session_options options = {.struct_size = sizeof(options)};
  dapple_chat chat = {.struct_size = sizeof(chat)};
  dapple_plan plan = {.struct_size = sizeof(plan)};
  dapple_token token = {.struct_size = sizeof(token)};
  dapple_report report = {.struct_size = sizeof(report)};
  dapple_model* model = NULL;
  dapple_session* session = NULL;
  size_t bytes = 0, count = 0;
  int status = DAPPLE_OK;
  if (argc < 3) return fprintf(stderr, "MODEL DOCUMENT [MIB]\n"), 2;
  char* text = read_document(argv[2], &bytes);
  if (text == NULL) return perror(argv[2]), 1;
  open.path = argv[1];
  if (dapple_open(&open, &model, &error)) return fail("open", &error);
  chat.user = text;
  if (dapple_encode_chat(model, &chat, NULL, 0, &count, &error))
    return fail(argv[2], &error);
  int32_t* ids = malloc(count * sizeof(*ids));
  if (ids == NULL) return perror("ids"), 1;
  dapple_encode_chat(model, &chat, ids, count, &count, &error);
  options.prompt_tokens = count;
  if (argc > 3) options.ram_bytes = strtoull(argv[3], NULL, 10) << 20;
  if (dapple_plan_session(model, &options, &plan, &error))
    return fail("plan", &error);
  fprintf(stderr, "%zu tokens, %.1f MiB of memory: %s\n", count,
          (double)plan.total_bytes / 1048576, plan.text);
  if (dapple_session_new(model, &options, &session, &error))
    return fail("memory", &error);
  if (dapple_prefill(session, ids, count, NULL, NULL, &error) ||
      dapple_quote(session, text, bytes, 3, 5, &error))
    return fail(argv[2], &error);
  while (status == DAPPLE_OK) {
    status = dapple_next(session, &token, &error);
    if (token.bytes != 0) printf("%.*s\n", (int)token.bytes, token.text);
  }
  if (status != DAPPLE_END) return fail("answer", &error);
  dapple_session_report(session, &report, &error);
  fprintf(stderr, "kept %.1f %%; memory planned %.1f, measured %.1f MiB\n",
          100 * report.kept_share, (double)report.planned_bytes / 1048576,
          (double)report.peak_bytes / 1048576);
  dapple_session_close(session);
  dapple_close(model);
  free(ids);
  free(text);
  return 0;
}
