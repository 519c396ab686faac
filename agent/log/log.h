/* log.h: the write path. Batches accepted from producers are gathered, stored (in objects, or inline: by the
 * commit itself, in PostgreSQL), committed in the brain in each partition's order, and answered when they are
 * durable. Which way they go is their topic's choice, or choose.c's.
 *
 * Everything that waits is driven by log_tick(): the log itself knows no sockets, no timers and no
 * PostgreSQL, only a LogBackend, so that tests inject time, store and brain. One thread owns it all. */
#ifndef STREAMHOUSE_LOG_H
#define STREAMHOUSE_LOG_H

#include "agent/log/append.h"
#include "agent/log/tail.h"
#include "common/commit_row.h"
#include "common/status.h"

enum { LOG_CALL_IDS = 1024 /* that sh_reserve_inline() gives at a time */ };

typedef struct Log Log;

enum {
    LOG_NEVER_MS = INT32_MAX,       /* log_tick(): nothing is due */
    LOG_LOCKED_RETRY_MIN_MS = 2,    /* first wait after `locked` */
    LOG_LOCKED_RETRY_MAX_MS = 50,   /* longest one */
    LOG_PUT_RETRY_MIN_MS = 100,     /* first wait after a PUT that the store gave up */
    LOG_PUT_RETRY_MAX_MS = 2000,    /* longest one */
    LOG_STORE_BUSY_RETRY_MS = 10,   /* after the store's queue was full */
    LOG_RESERVE_RETRY_MS = 250,     /* after intents could not be had */
    LOG_UPLOAD_BATCHES_MAX = 16384, /* batches in one object */
    LOG_LOCKED_QUICK = 3,           /* a locked partition is tried that often before its lock is waited for */
    LOG_CONTENDED_MS = 1000,        /* and for so long afterwards, it is waited for at once */
    LOG_LED_LATELY_MS = 60 * 1000, /* after a partition came here; clients wait that long for an old leader */
    LOG_INLINE_CALL_BYTES_MAX =
        4 * 1024 * 1024, /* batches of one inline commit; a larger batch is an object's */
    LOG_INLINE_CALL_BATCHES_MAX = 4096,
    LOG_INLINE_FULL_MS = 1000, /* after the ring was full, so long nothing is chosen to go there */
};

/* How the brain answered one batch. */
typedef enum CommitStatus {
    COMMIT_COMMITTED,
    COMMIT_DUPLICATE, /* base_offset is the first one's */
    COMMIT_LOCKED,    /* not final: ask again */
    COMMIT_REFUSED    /* fenced, invalid or unknown: error says which */
} CommitStatus;

typedef struct CommitAnswer {
    int32_t batch; /* ordinal in the object */
    CommitStatus status;
    KafkaError error;
    int64_t base_offset;
    int32_t leader_epoch;
    int64_t log_start_offset;
} CommitAnswer;

typedef enum CommitOutcome {
    COMMIT_ANSWERED, /* answers[] holds one for each batch asked */
    COMMIT_UNKNOWN,  /* the connection died or the call was not sent: ask again, the brain remembers */
    COMMIT_FAILED,   /* rolled back, may succeed later */
    COMMIT_EXPIRED,  /* the brain will never take this object */
    COMMIT_BUSY,     /* rolled back: the partition's lock was not had in time */
    COMMIT_FULL      /* rolled back: PostgreSQL takes no more bytes */
} CommitOutcome;

typedef struct Intent {
    int64_t object_id;
    char key[128];
} Intent;

typedef void (*IntentsReserved)(void *argument, const Intent *intents, size_t count);
/* A block of so many consecutive ids; count 0: none could be had. */
typedef void (*CallsReserved)(void *argument, int64_t first, int count);
typedef void (*PutFinished)(void *argument, const Status *status);
typedef void (*CommitFinished)(void *argument, CommitOutcome outcome, const CommitAnswer *answers,
                               size_t count);

/* A commit of some batches of one upload. */
typedef struct CommitRequest {
    bool is_inline;
    int64_t id;           /* of the object, or of the inline upload's calls */
    int64_t object_bytes; /* of the whole object; of this call's batches when inline */
    const CommitRow *rows;
    const Slice *bytes; /* inline: each row's batch; one after the other they are what byte_start counts in */
    size_t count;
    int wait_ms; /* for the lock of the only partition it is for; 0: what is locked is answered COMMIT_LOCKED
                  */
} CommitRequest;

/* What the log needs from the world. Callbacks come later, never from within the call, exactly once. */
typedef struct LogBackend {
    void *context;
    /* Asks the brain for intents; count 0 in the callback means none could be had. */
    void (*reserve)(void *context, int count, IntentsReserved done, void *argument);
    /* Stores an object, retrying until the deadline. False: not started, now is no time for it. */
    bool (*put)(void *context, const char *key, const Slice *slices, size_t count, int deadline_ms,
                PutFinished done, void *argument);
    /* Asks the brain for a block of ids of inline calls. */
    void (*reserve_calls)(void *context, CallsReserved done, void *argument);
    /* None of a block's calls will ever come (again): the brain need not keep their answers. Nobody is told
     * what became of it. */
    void (*forget_calls)(void *context, int64_t first);
    void (*commit)(void *context, const CommitRequest *request, CommitFinished done, void *argument);
    /* Something is due: call log_tick() before long, and not from here. */
    void (*wake)(void *context);
    /* A commit to the partition was answered: its high watermark may have moved. fenced: its leadership was
     * found to be another's. */
    void (*moved)(void *context, Partition *partition);
    void (*fenced)(void *context, Partition *partition);
    /* The three below may be NULL. Hastens the end of the PUT that was started with this argument, whose
     * callback still comes. */
    void (*put_stop)(void *context, void *argument);
    /* The store asks for fewer requests just now. */
    bool (*store_slowed)(void *context);
    /* The store is ill, and why, or well again. */
    void (*store_state)(void *context, bool ill, const char *why);
} LogBackend;

/* Copied at creation; log_configure() changes them later. */
typedef struct LogOptions {
    size_t flush_bytes;    /* an upload with this many bytes of batches is sealed */
    int64_t linger_ms;     /* an upload this old is sealed */
    int64_t idle_flush_ms; /* with no PUT under way, one that got nothing for this long is sealed */
    int put_parallel_max;
    int64_t put_timeout_ms;  /* longest a PUT is tried */
    int intents_min;         /* ask for more below this */
    int64_t intent_fresh_ms; /* an intent older than this is not used any more; the reaper gets it */
    size_t tail_bytes_max;
    size_t inline_flush_bytes;  /* pending batches of more bytes than this go to an object; 0: all do */
    int64_t inline_commit_ms;   /* so do all while commits take longer than this */
    int64_t inline_rate_bytes;  /* a second; more goes to objects */
    int64_t inline_backlog_max; /* bytes in the ring above which all goes to objects */
    int64_t store_slow_ms;      /* a PUT that takes longer shows that the store is ill; 0: none ever does */
    uint32_t jitter_seed;       /* agents that start together must not ask in step */
    int64_t put_hedge_ms;       /* one that takes longer, and longer than usual, is written twice; 0: never */
    int contended_wait_ms;      /* longest wait for a contended partition's lock; 0: never wait */
} LogOptions;

typedef struct LogAppend {
    Partition *partition;
    Block *frame; /* held until the batch is final and out of the tail */
    uint8_t *bytes;
    int32_t size;
    BatchHeader header;
    int64_t deadline_ms; /* on the clock of log_tick() */
} LogAppend;

Log *log_new(const LogOptions *options, const LogBackend *backend);
void log_configure(Log *log, const LogOptions *options);
/* Only when no backend call is under way. Batches without an answer get REQUEST_TIMED_OUT. */
void log_free(Log *log);

/* Whose objects these are; zeros until it is known. */
void log_set_cluster(Log *log, const uint8_t cluster_id[OBJECT_UUID_SIZE]);

/* What to answer a batch that comes after one which failed and is not sent again yet; NONE: it may be
 * appended. */
KafkaError log_check_order(Log *log, const Partition *partition, const BatchHeader *header, int64_t now_ms);

/* A batch was refused since another agent leads the partition: its producer's next ones are, too, until it
 * comes again, even if this agent leads by then. */
void log_refused_elsewhere(Log *log, const Partition *partition, const BatchHeader *header, int64_t now_ms);

/* Bytes that wait in PostgreSQL to be moved into objects, as the brain last said. */
void log_set_inline_backlog(Log *log, int64_t bytes);

/* Somebody else's PUT ended: it shows, too, how the store does. */
void log_note_store(Log *log, bool stored);
/* PUTs fail or are slow: what can wait had better. */
bool log_store_is_ill(const Log *log);

/* Takes a batch that was checked. The answer comes later, exactly once: NONE when durable, otherwise why not.
 * False when memory is short: nothing was taken. */
MUST_CHECK bool log_append(Log *log, const LogAppend *append, int64_t now_ms, AppendAnswered done,
                           void *argument);

/* Does all that is due and says in how many ms the next thing is; LOG_NEVER_MS when nothing is. */
int64_t log_tick(Log *log, int64_t now_ms);

/* Seals what is open, whatever its age (draining). */
void log_flush(Log *log);
/* No batch is waiting for an answer and no call is under way. */
bool log_is_idle(const Log *log);

/* The topic was deleted: its batches fail, its tail goes. */
void log_forget_partition(Log *log, Partition *partition);

/* What is in memory of the partition's end may not be what PostgreSQL has. */
void log_doubt_partition(Log *log, Partition *partition);

#endif
