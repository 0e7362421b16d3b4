/* The C interface of Dapple: open a model, plan, prefill, next token, report,
 * close.
 *
 * For programs in other languages, and for those that want a stable interface:
 * opaque handles, error codes, no exceptions, no state outside the handles.
 * The symbols of libdapple.so carry the version DAPPLE_0; a change that breaks
 * a caller gets a new one.
 *
 * Manners
 * - Structures begin with struct_size: set it to sizeof of the structure, and
 *   everything else to zero before you fill in what you need. Zero (NULL) means
 *   the default of each field. A program built against an older header goes on
 *   working; one built against a newer header than the library's is refused.
 * - Functions that can fail return a dapple_code. `error` may be NULL; else
 *   it gets the code and one line for the user, which names the file (or the
 *   field) and the reason. On failure nothing else is written, but where it is
 *   said.
 * - Texts are UTF-8. Strings without a length end in a NUL.
 * - A handle may be used by one thread at a time. Sessions of one model share
 *   it, so they too take turns. A model may be closed before its sessions.
 * - Sizes are bytes unless they say tokens.
 *
 * Fork after dapple_open is not supported: the worker threads stay behind.
 */
#ifndef DAPPLE_DAPPLE_H_
#define DAPPLE_DAPPLE_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define DAPPLE_API __attribute__((visibility("default")))
#else
#define DAPPLE_API
#endif

typedef struct dapple_model dapple_model;     /* weights, tokenizer, threads */
typedef struct dapple_session dapple_session; /* memory of one prompt */

/* Values never change; new ones may come. */
typedef enum dapple_code {
  DAPPLE_OK = 0,
  DAPPLE_INVALID_ARGUMENT = 1, /* an option or argument makes no sense */
  DAPPLE_NOT_FOUND = 2,        /* a file does not exist */
  DAPPLE_CORRUPT = 3,          /* a file contradicts itself or is cut short */
  DAPPLE_UNSUPPORTED = 4,      /* well-formed, but Dapple cannot run it */
  DAPPLE_DOES_NOT_FIT = 5,     /* exceeds memory, context, slots or a buffer */
  DAPPLE_IO = 6,               /* the system refused a read or write */
  DAPPLE_CANCELLED = 7,        /* a callback asked to stop */
  DAPPLE_INTERNAL = 8,         /* a bug */
  DAPPLE_END = 100             /* dapple_next: the answer is complete */
} dapple_code;

typedef struct dapple_error {
  int code; /* a dapple_code */
  char message[1020];
} dapple_error;

/* "0.1.0": of the library that is loaded. */
DAPPLE_API const char* dapple_version(void);
/* "does not fit" for DAPPLE_DOES_NOT_FIT; never NULL. */
DAPPLE_API const char* dapple_code_name(int status);

/* ---- Models -------------------------------------------------------------- */

typedef struct dapple_model_options {
  size_t struct_size;
  const char* path; /* GGUF file; required */
  const char* gemm; /* "auto", "onednn", "highway" or "int8" */
  int32_t threads;  /* 0: one per physical core */
} dapple_model_options;

typedef struct dapple_model_info {
  size_t struct_size;
  const char* name; /* valid until the model is closed */
  size_t context;   /* tokens it was trained for */
  size_t vocab;     /* ids, and the length of dapple_logits */
  int32_t threads;
} dapple_model_info;

/* Maps the file, reads its header and vocabulary, starts the threads. */
DAPPLE_API dapple_code dapple_open(const dapple_model_options* options,
                                   dapple_model** model, dapple_error* error);
/* NULL is allowed. */
DAPPLE_API void dapple_close(dapple_model* model);
DAPPLE_API dapple_code dapple_describe(const dapple_model* model,
                                       dapple_model_info* info,
                                       dapple_error* error);

/* ---- Text ---------------------------------------------------------------- */

enum {
  DAPPLE_ADD_BOS = 1, /* begin with the bos token, where the model has one */
  DAPPLE_PARSE_SPECIAL = 2 /* names of special tokens in the text become them:
                              never for text that you do not trust */
};

/* Token ids of text[0, bytes). *count gets how many there are, also when ids is
 * NULL (then nothing is stored) or capacity, in ids, is too small
 * (DAPPLE_DOES_NOT_FIT). */
DAPPLE_API dapple_code dapple_encode(const dapple_model* model,
                                     const char* text, size_t bytes,
                                     uint32_t flags, int32_t* ids,
                                     size_t capacity, size_t* count,
                                     dapple_error* error);

typedef struct dapple_chat {
  size_t struct_size;
  const char* system;  /* NULL: no system turn */
  const char* user;    /* required; what it holds is never a control token */
  const char* lead_in; /* begins the answer */
  const char* chat_template; /* Jinja text; NULL: the model's own */
  int32_t think;             /* 1: on, -1: off, 0: the template's default */
} dapple_chat;

/* The same for one turn of the user in the model's chat format, up to where the
 * answer begins. */
DAPPLE_API dapple_code dapple_encode_chat(const dapple_model* model,
                                          const dapple_chat* chat, int32_t* ids,
                                          size_t capacity, size_t* count,
                                          dapple_error* error);

/* ---- Planning ------------------------------------------------------------ */

typedef struct dapple_session_options {
  size_t struct_size;
  size_t prompt_tokens;  /* the longest prompt to come; required */
  size_t max_new_tokens; /* 0: 256 */
  /* What the whole process may take. 0: what the machine or control group has
   * left, less a twentieth; UINT64_MAX: no cap. */
  uint64_t ram_bytes;
  const char* policy;       /* "dapq" (default), "full", "snapkv", … */
  const char* keep;         /* "256", "3%" or "auto" (default: all that fit) */
  const char* schedule;     /* "auto", "exact", "exact-q8", "exact-spill",
                               "streaming" */
  const char* weights;      /* "auto" (may copy them into huge pages),
                               "resident", "reread", "streamed" */
  const char* kv;           /* "auto", "f16", "q8", "q4" */
  const char* spill_folder; /* NULL: nothing is spilled */
  size_t chunk_tokens;      /* of the streaming schedule; 0: 1024 */
  size_t probe_tokens;      /* pseudo tokens of dapq; 0: 32 */
  size_t generation_slots;  /* slots for the answer; 0: max_new_tokens */
  int32_t drop_oldest;      /* when they are full: 1 drops the oldest generated
                               token, 0 stops */
  int32_t beyond_context;   /* 1: allow more tokens than trained for */
  /* Tokens of the longest text that dapple_quote will get: what it makes of
   * them is part of the plan. 0: prompt_tokens, since the text is a part of the
   * prompt; SIZE_MAX: nothing will be quoted. */
  size_t quote_tokens;
} dapple_session_options;

typedef struct dapple_plan {
  size_t struct_size;
  int32_t fits;           /* 0: nothing below does; text says what would */
  uint64_t cap_bytes;     /* 0: none */
  uint64_t total_bytes;   /* peak of the whole process: the larger of */
  uint64_t prefill_bytes; /* … while the prompt is read */
  uint64_t decode_bytes;  /* … while the answer is written */
  uint64_t spill_bytes;   /* of a file; not memory */
  size_t keep_tokens;     /* of the prompt, the mean over layers */
  size_t longest_prompt;  /* tokens that would fit the same way */
  char schedule[16];
  char weights[16];
  char kv[8];
  char text[500]; /* one line: why this one, or why none */
} dapple_plan;

/* What a session of these options will take; reserves nothing. That nothing
 * fits is no failure: plan->fits is 0. */
DAPPLE_API dapple_code dapple_plan_session(
    const dapple_model* model, const dapple_session_options* options,
    dapple_plan* plan, dapple_error* error);
/* The same from the file's header alone, in milliseconds. */
DAPPLE_API dapple_code dapple_plan_file(const dapple_model_options* model,
                                        const dapple_session_options* options,
                                        dapple_plan* plan, dapple_error* error);

/* ---- Running ------------------------------------------------------------- */

/* Reserves everything that dapple_prefill and dapple_next will need.
 * DAPPLE_DOES_NOT_FIT with the shortfall and what would fit. */
DAPPLE_API dapple_code dapple_session_new(dapple_model* model,
                                          const dapple_session_options* options,
                                          dapple_session** session,
                                          dapple_error* error);
/* NULL is allowed. */
DAPPLE_API void dapple_session_close(dapple_session* session);

/* done of total units of work; anything but 0 cancels. */
typedef int (*dapple_progress)(void* user, uint64_t done, uint64_t total);

/* Reads the prompt, 1 … prompt_tokens ids. May be called again: the session
 * starts over. `progress` may be NULL. */
DAPPLE_API dapple_code dapple_prefill(dapple_session* session,
                                      const int32_t* ids, size_t count,
                                      dapple_progress progress, void* user,
                                      dapple_error* error);

typedef struct dapple_sampling {
  size_t struct_size;
  float temperature; /* 0: greedy */
  int32_t top_k;     /* 0: all */
  float top_p;       /* 0: 1 */
  float min_p;
  float repetition_penalty; /* 0: 1 */
  uint64_t seed;
} dapple_sampling;

/* How the tokens to come are chosen; without it, greedily. */
DAPPLE_API dapple_code dapple_sample(dapple_session* session,
                                     const dapple_sampling* sampling,
                                     dapple_error* error);
/* From here on the answer consists of whole sentences of text[0, bytes), at
 * least `least` and at most `most` of them. Between dapple_prefill and the
 * first dapple_next. DAPPLE_DOES_NOT_FIT for a text of more tokens than
 * were planned (quote_tokens). */
DAPPLE_API dapple_code dapple_quote(dapple_session* session, const char* text,
                                    size_t bytes, size_t least, size_t most,
                                    dapple_error* error);

typedef struct dapple_token {
  size_t struct_size;
  int32_t id;       /* -1 with DAPPLE_END */
  const char* text; /* [bytes] whole characters that are complete now, not
                       NUL-terminated, valid until the next call with this
                       session; with dapple_quote whole sentences */
  size_t bytes;
  size_t paragraph; /* of a quoted sentence, from 1; else 0 */
} dapple_token;

/* Chooses the next token. DAPPLE_END when the model ends its answer, or when
 * max_new_tokens or their slots are used up; token->text is then what was still
 * held back. */
DAPPLE_API dapple_code dapple_next(dapple_session* session, dapple_token* token,
                                   dapple_error* error);
/* Logits of the token to come, (*logits)[*vocab], valid until the next call
 * with this session: for callers that choose themselves. `vocab` may be NULL.
 * DAPPLE_END as dapple_next. */
DAPPLE_API dapple_code dapple_logits(dapple_session* session,
                                     const float** logits, size_t* vocab,
                                     dapple_error* error);
/* As dapple_next, with a token of the caller's choice. */
DAPPLE_API dapple_code dapple_accept(dapple_session* session, int32_t id,
                                     dapple_token* token, dapple_error* error);

typedef struct dapple_report {
  size_t struct_size;
  size_t prompt_tokens;
  size_t generated_tokens;
  double prefill_s; /* seconds */
  double decode_s;
  double kept_share;      /* of the prompt's keys and values, 0 … 1 */
  uint64_t kept_bytes;    /* which take this much, */
  uint64_t full_kv_bytes; /* where all would take this */
  double least_coverage;  /* share of the probe's attention that falls on what
                             was kept: the worst layer's; < 0: no probe */
  double median_coverage; /* … the median layer's */
  uint64_t planned_bytes; /* peak of the process as planned, */
  uint64_t peak_bytes;    /* and as the system measured it (VmHWM) */
} dapple_report;

/* After dapple_prefill. */
DAPPLE_API dapple_code dapple_session_report(const dapple_session* session,
                                             dapple_report* report,
                                             dapple_error* error);

#ifdef __cplusplus
}
#endif

#endif /* DAPPLE_DAPPLE_H_ */
