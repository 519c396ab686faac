/* log_internal.h: what the files of the write path share: gather.c (batches into uploads), choose.c (inline
 * or object), circuit.c (how the store does), inline.c (uploads that need no store), upload.c (uploads into
 * the store), reroute.c (out of a store that is ill), commit.c (stored batches into the brain), order.c (each
 * partition's order, and final answers). */
#ifndef STREAMHOUSE_LOG_INTERNAL_H
#define STREAMHOUSE_LOG_INTERNAL_H

#include "agent/log/gap.h"
#include "agent/log/log.h"

enum { LOG_PUTS_RECENT = 64, LOG_PUT_ENDS_MAX = 64 };
enum { LOG_INTENTS_MAX = 64, LOG_INLINE_CALLS_MAX = 1 /* at a time; what comes meanwhile is gathered */ };

/* Why batches whose topic leaves the path open go to an object; NONE: they go inline. */
typedef enum Refusal {
    REFUSAL_NONE,
    REFUSAL_LARGE,   /* more bytes are pending than an inline commit should have */
    REFUSAL_RATE,    /* more than that went inline lately */
    REFUSAL_LATENCY, /* PostgreSQL is slow */
    REFUSAL_BACKLOG, /* much waits there to be moved */
    REFUSAL_FULL,    /* it said that it takes no more */
    REFUSAL_CALLS    /* no id for the call could be had; while one is asked for, batches wait for it */
} Refusal;

/* What the choice is made by. */
typedef struct Chooser {
    double commit_ms;      /* smoothed duration of commits */
    int64_t ended_from_ms; /* when the oldest commit that ended since the last tick began; 0: none ended */
    double tokens;         /* bytes that may go inline just now */
    int64_t filled_ms;
    int64_t full_until_ms;
    int64_t backlog_bytes;
} Chooser;

/* A PUT that ended since the last tick. */
typedef struct PutEnd {
    int64_t started_ms;
    size_t bytes;
    bool stored;
    bool is_probe;
} PutEnd;

/* How the store does. */
typedef struct Circuit {
    bool ill;
    int64_t since_ms;
    int64_t seen_ms; /* the last tick */
    int64_t ill_ms;  /* altogether */
    bool probing;
    int64_t probe_at_ms;
    int64_t probe_from_ms;
    int good; /* PUTs in a row that were quick, while ill */
    int bad;
    int parallel; /* PUTs at a time, while ill */
    uint32_t random;
    double hedges; /* that may be begun */
    int64_t usual_ms;
    int64_t recent_ms[LOG_PUTS_RECENT];
    size_t recent_next;
    PutEnd ended[LOG_PUT_ENDS_MAX];
    size_t ended_count;
} Circuit;

struct CallBlock {
    int64_t first;
    size_t uploads; /* that have an id of it */
    bool used_up;   /* no more of its ids are given out */
    bool in_doubt;  /* a call may yet come late, and is to find the answers */
};

struct Log {
    LogOptions options;
    LogBackend backend;
    Tail tail;
    Gaps gaps;
    uint8_t cluster_id[OBJECT_UUID_SIZE];
    Upload *uploads;           /* oldest first */
    Upload *open[WRITE_PATHS]; /* those that take batches */
    Chooser chooser;
    Circuit circuit;
    size_t inline_calls; /* inline commits under way, but for those that wait for a lock */
    CallBlock *block;    /* ids are given out from */
    int64_t call_id;     /* the next one */
    int64_t call_id_end;
    int64_t calls_low;           /* as many ids left: time to ask for more */
    int64_t calls_reserve_at_ms; /* not before */
    bool calls_reserving;
    int putting; /* PUTs of objects under way, hedges included */
    int hedging;
    size_t calls;   /* backend calls under way */
    size_t waiting; /* batches that are not final */
    size_t locked;  /* batches in APPEND_LOCKED */
    int64_t now_ms;
    int64_t reserve_at_ms; /* not before */
    bool reserving;
    bool store_busy; /* the store took no PUT at the last tick */
    size_t intent_count;
    int64_t intent_from_ms[LOG_INTENTS_MAX];
    Intent intents[LOG_INTENTS_MAX];
};

/* gather.c */
void gather_seal_due(Log *log);
int64_t gather_next_due_ms(const Log *log);

/* Takes batches that may go inline out of an upload that is in no store yet, to the front of what is gathered
 * for inline. Returns how many bytes. */
size_t gather_take_back(Log *log, Upload *upload);
/* Whether that would find any. */
bool gather_may_take_back(const Upload *upload);

/* circuit.c */
void circuit_init(Circuit *circuit, uint32_t seed);
void circuit_tick(Log *log);
bool circuit_is_open(const Log *log);
/* Whatever may go inline is to. */
bool circuit_prefers_inline(const Log *log);
/* PUTs of objects at a time. */
int circuit_put_parallel(const Log *log);
/* A PUT of so many bytes that takes longer than this is too slow. */
int64_t circuit_slow_ms(const Log *log, size_t bytes);
void circuit_found_slow(Log *log);
void circuit_put_ended(Log *log, const PutEnd *end);
int64_t circuit_pause_ms(Log *log, int64_t ms);
/* When a PUT is to be written a second time, and whether it may be now. */
int64_t circuit_hedge_ms(const Log *log, size_t bytes);
bool circuit_may_hedge(const Log *log);
void circuit_hedged(Log *log);
int64_t circuit_next_due_ms(const Log *log);

/* reroute.c */
void reroute_all(Log *log);
/* The PUTs of an upload that was to be rerouted have ended. */
void reroute_finish(Log *log, Upload *upload);
int64_t reroute_next_due_ms(const Log *log);

/* choose.c */
void choose_tick(Log *log);
Refusal choose_refusal(const Log *log);
void choose_count(Refusal refusal);
/* Bytes go inline. */
void choose_spend(Log *log, size_t bytes);
void choose_commit_ended(Log *log, int64_t started_ms);
void choose_show_limits(const Log *log);

/* inline.c */
void inline_keep_ids(Log *log);
/* A sealed upload becomes stored without a store. There is an id for it. */
void inline_start(Log *log, Upload *upload);
/* The upload's calls are over: nothing of it is asked any more. */
void inline_leave(Log *log, Upload *upload);
/* Whatever becomes of its calls, nobody will know: the log is about to be freed. */
void inline_abandon(Upload *upload);
/* PostgreSQL takes no more: what may go to an object does. True when the upload has become an object's. */
bool inline_to_object(Log *log, Upload *upload);
int64_t inline_next_due_ms(const Log *log);

/* upload.c */
void upload_enter(Upload *upload, UploadState state);
/* Gives batches their order, ordinals and places. */
Status upload_lay_out(const Log *log, Upload *upload);
/* Its batches may be committed from now on. */
void upload_stored(Upload *upload);
void upload_fail(Log *log, Upload *upload, KafkaError error);
void append_free(Append *append);
/* Ends the PUTs of an upload before their time; they still call back. */
void upload_stop_puts(Log *log, Upload *upload);
void upload_start_all(Log *log);
int64_t upload_next_due_ms(const Log *log);
void upload_release_if_done(Log *log, Upload *upload);
void upload_free(Log *log, Upload *upload);

/* commit.c */
void commit_start_all(Log *log);
int64_t commit_next_due_ms(const Log *log);

/* order.c */
void order_join(Append *append);
/* Final answer: leaves the partition's queue, tells the producer (once), lets the next of the partition go
 * on, and on an error takes with it what its producer sent after it. */
void order_finish(Log *log, Append *append, KafkaError error, int64_t base_offset);
/* Ends batches whose deadline passed; those the brain was asked about only get their answer. */
void order_expire(Log *log);
/* Answers every batch of the upload that has no answer; the log is about to be freed. */
void order_abandon(Upload *upload);
int64_t order_next_due_ms(const Log *log);
void append_enter(Append *append, AppendState state);

#endif
