/* topic.h: what an agent knows of a topic and its partitions. Filled from the brain by catalog.c; the log,
 * the reader and the protocol handlers hang their per-partition state on a Partition. */
#ifndef STREAMHOUSE_TOPIC_H
#define STREAMHOUSE_TOPIC_H

#include <stdbool.h>
#include <stdint.h>

#include <uthash.h>

#include "common/compression.h"
#include "common/slice.h"

typedef struct Topic Topic;
typedef struct Append Append;
typedef struct TailBatch TailBatch;
typedef struct FetchWait FetchWait;
typedef struct SegmentWindow SegmentWindow;
typedef struct Recompression Recompression;

enum { TOPIC_NO_LEADER = -1, OFFSET_UNKNOWN = -1 };

/* A circular array of batches, oldest first; capacity is a power of two or 0. */
typedef struct TailRing {
    TailBatch **batches;
    uint32_t first;
    uint32_t count;
    uint32_t capacity;
} TailRing;

/* Where a topic's batches are written first: streamhouse.write.path. */
typedef enum WritePath {
    WRITE_AUTO,   /* as agent/log/choose.c finds */
    WRITE_INLINE, /* into PostgreSQL */
    WRITE_OBJECT, /* into the store */
    WRITE_PATHS
} WritePath;

/* The topic configs an agent acts on; the brain has validated them. */
typedef struct TopicConfig {
    int32_t max_message_bytes;
    bool log_append_time;
    bool compacted;                  /* cleanup.policy contains compact: a record needs a key */
    int64_t timestamp_before_max_ms; /* message.timestamp.before.max.ms */
    int64_t timestamp_after_max_ms;  /* message.timestamp.after.max.ms */
    WritePath write_path;            /* streamhouse.write.path */
    bool keeps_codec;                /* compression.type is producer */
    CompressionCodec codec;          /* otherwise every batch gets this one */
    int codec_level;
} TopicConfig;

typedef struct Partition {
    Topic *topic;
    int32_t index;
    int32_t leader;   /* agent id, TOPIC_NO_LEADER for none */
    int32_t epoch;    /* the lease's, which is Kafka's leader epoch */
    uint32_t led_age; /* the catalog's refresh after which leader and epoch were heard of */
    int64_t led_ms;   /* when this epoch was heard of */
    bool closing;    /* this agent is handing it over and takes nothing new for it (agent/jobs/hand_over.c) */
    uint32_t parked; /* batches that wait meanwhile */

    uint64_t appended_bytes; /* since the agent began (agent/log) */
    uint64_t reported_bytes; /* of those, when the last heartbeat was sent (agent/jobs/report.c) */
    int64_t append_rate;     /* bytes a second, smoothed, as of then */

    int64_t log_start_offset; /* OFFSET_UNKNOWN until the brain was asked */
    int64_t high_watermark;   /* likewise; only ever rises while the topic lives */
    int64_t watched_end;      /* heard of while a commit was under way: may be its own, or somebody else's */
    uint32_t watermark_age;   /* the watch's generation when it was asked for (agent/read) */

    int64_t contended_until_ms; /* its lock was found taken lately (agent/log) */

    Recompression *recompressions; /* batches that wait for theirs, in order (agent/log/recompress.c) */
    Append *appends;               /* accepted batches without a final answer, in order (agent/log) */
    TailRing tail;                 /* newest committed batches (agent/log/tail.c) */
    FetchWait *waits;              /* fetches that wait for this partition to move (agent/read) */
    SegmentWindow *segments;       /* cached segment pointers, most recently used first (agent/read) */
} Partition;

struct Topic {
    int32_t topic_id;
    uint8_t uuid[16];
    char *name;
    TopicConfig config;
    Partition **partitions;
    int32_t partition_count;
    uint32_t references;
    bool deleted;
    uint32_t seen; /* the refresh that saw it last */
    UT_hash_handle by_id;
    UT_hash_handle by_name;
    UT_hash_handle by_uuid;
};

/* One reference, no partitions; NULL when memory is short. */
Topic *topic_new(int32_t topic_id, const uint8_t uuid[16], Slice name);
Topic *topic_hold(Topic *topic);
void topic_release(Topic *topic);

/* Adds partitions up to count; existing ones keep their address. False when memory is short. */
bool topic_grow(Topic *topic, int32_t count);

/* NULL when the topic has no such partition. */
Partition *topic_partition(const Topic *topic, int32_t index);

/* Reads the explicitly set configs (a JSON object of strings or numbers); the rest get Kafka's defaults. */
void topic_config_read(TopicConfig *config, Slice json);

#endif
