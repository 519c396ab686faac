/* log_internal.h: what the files of the write path share: gather.c (batches into uploads), upload.c (uploads
 * into the store), commit.c (stored batches into the brain), order.c (each partition's order, and final
 * answers). */
#ifndef STREAMHOUSE_LOG_INTERNAL_H
#define STREAMHOUSE_LOG_INTERNAL_H

#include "agent/log/gap.h"
#include "agent/log/log.h"

enum { LOG_INTENTS_MAX = 64 };

struct Log {
    LogOptions options;
    LogBackend backend;
    Tail tail;
    Gaps gaps;
    uint8_t cluster_id[OBJECT_UUID_SIZE];
    Upload *uploads; /* oldest first; the last may be open */
    Upload *open;
    int putting;
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

/* upload.c */
void upload_enter(Upload *upload, UploadState state);
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
