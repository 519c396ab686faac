/* codec.h: Kafka messages to and from plain structs. The schema text (agent/kafka/schema/) becomes structs
 * and constant field tables ("kafka_messages.h", generated); one walker here decodes, encodes and fills in
 * defaults for all of them.
 *
 * How generated structs look. A message of an API is Kafka<Api>Request or Kafka<Api>Response; a struct inside
 * it carries the message's name in front. From
 *
 *     api 1 Fetch ...
 *     request
 *         max_wait_ms     int32
 *         session_epoch   int32 7+ ignorable = -1
 *         cluster_id      string? 12+ tag 0 = null
 *         topics          [Topic]
 *             topic           string 0-12 ignorable
 *             topic_id        uuid 13+ ignorable
 *             partitions      [Partition]
 *                 fetch_offset    int64
 *
 * comes, innermost struct first,
 *
 *     typedef struct KafkaFetchRequestPartition { int64_t fetch_offset; } KafkaFetchRequestPartition;
 *     typedef struct KafkaFetchRequestPartitionArray {
 *         KafkaFetchRequestPartition *items;
 *         int32_t count;
 *     } KafkaFetchRequestPartitionArray;
 *     typedef struct KafkaFetchRequestTopic {
 *         Slice topic;
 *         KafkaUuid topic_id;
 *         KafkaFetchRequestPartitionArray partitions;
 *     } KafkaFetchRequestTopic;
 *     typedef struct KafkaFetchRequest {
 *         int32_t max_wait_ms;
 *         int32_t session_epoch;
 *         Slice cluster_id;
 *         KafkaFetchRequestTopicArray topics;
 *     } KafkaFetchRequest;
 *     extern const KafkaStruct KAFKA_FETCH_REQUEST_PARTITION, KAFKA_FETCH_REQUEST_TOPIC;
 *     extern const KafkaMessage KAFKA_FETCH_REQUEST;
 *
 * Types: bool, int8_t, int16_t, uint16_t, int32_t, int64_t, double; string and bytes are Slice (data NULL =
 * null); uuid is KafkaUuid; an array is { items, count }, count -1 = null; a struct is embedded, a nullable
 * struct is a pointer (NULL = null). Record batches are one Slice in a request
 * (KafkaProduceRequestPartition.records) and a KafkaRecords in a response
 * (KafkaFetchResponsePartition.records), whose slices the writer refers to and does not copy. Field names are
 * Kafka's own in snake_case.
 *
 * A handler reads a request and answers like this:
 *
 *     KafkaFetchRequest request;
 *     Status status = kafka_decode(&KAFKA_FETCH_REQUEST, version, &in, arena, &request);
 *     for (int32_t i = 0; i < request.topics.count; i++) { ... request.topics.items[i].partitions.count ... }
 *
 *     KafkaFetchResponse response;
 *     kafka_defaults(&KAFKA_FETCH_RESPONSE.root, &response);
 *     response.responses.count = count;
 *     response.responses.items = kafka_items_new(arena, &KAFKA_FETCH_RESPONSE_TOPIC, (size_t)count);
 *     status = kafka_encode(&KAFKA_FETCH_RESPONSE, version, &response, &out);
 *
 * Decoded strings and bytes are views of the input. A field that the version does not have gets its default.
 */
#ifndef STREAMHOUSE_KAFKA_CODEC_H
#define STREAMHOUSE_KAFKA_CODEC_H

#include <stddef.h>

#include "common/arena.h"
#include "common/reader.h"
#include "common/slice.h"
#include "common/status.h"
#include "common/writer.h"

typedef struct KafkaUuid {
    uint8_t bytes[16];
} KafkaUuid;

/* Record batches of a response: slices one after the other. slices NULL and null true = null. */
typedef struct KafkaRecords {
    const Slice *slices;
    int32_t count;
    bool null;
} KafkaRecords;

typedef struct KafkaInt8Array {
    int8_t *items;
    int32_t count;
} KafkaInt8Array;

typedef struct KafkaInt32Array {
    int32_t *items;
    int32_t count;
} KafkaInt32Array;

typedef struct KafkaInt64Array {
    int64_t *items;
    int32_t count;
} KafkaInt64Array;

typedef struct KafkaStringArray {
    Slice *items;
    int32_t count;
} KafkaStringArray;

typedef struct KafkaUuidArray {
    KafkaUuid *items;
    int32_t count;
} KafkaUuidArray;

typedef enum KafkaType {
    KAFKA_TYPE_BOOL,
    KAFKA_TYPE_INT8,
    KAFKA_TYPE_INT16,
    KAFKA_TYPE_UINT16,
    KAFKA_TYPE_INT32,
    KAFKA_TYPE_INT64,
    KAFKA_TYPE_FLOAT64,
    KAFKA_TYPE_UUID,
    KAFKA_TYPE_STRING,
    KAFKA_TYPE_BYTES,
    KAFKA_TYPE_RECORDS,       /* one Slice, referenced when encoded */
    KAFKA_TYPE_RECORD_SLICES, /* KafkaRecords */
    KAFKA_TYPE_STRUCT,        /* embedded, or a pointer when it may be null */
    KAFKA_TYPE_COUNT
} KafkaType;

typedef struct KafkaStruct KafkaStruct;

/* Versions first..last, both included; last INT16_MAX = open, first INT16_MAX = never. */
typedef struct KafkaVersions {
    int16_t first;
    int16_t last;
} KafkaVersions;

/* One field of a struct: constant data, in the order of the wire. */
typedef struct KafkaField {
    const char *name;
    const KafkaStruct *structure; /* KAFKA_TYPE_STRUCT: of the field or of the array's items */
    int64_t default_value;        /* of numbers and bool */
    uint32_t offset;              /* in the C struct */
    KafkaVersions versions;
    KafkaVersions nullable;
    int16_t tag;  /* -1: not tagged */
    uint8_t type; /* KafkaType, of the items when array */
    bool array;
    bool indirect;     /* a struct held by pointer */
    bool ignorable;    /* a value may be dropped silently where the version has no such field */
    bool plain;        /* a two-byte length even in flexible versions */
    bool default_null; /* string, bytes, array, pointer: null rather than empty */
} KafkaField;

struct KafkaStruct {
    const char *name;
    const KafkaField *fields;
    uint16_t field_count;
    uint16_t tagged_count; /* tagged ones come last, by rising tag */
    uint32_t size;         /* of the C struct */
};

typedef struct KafkaMessage {
    KafkaStruct root;
    KafkaVersions versions; /* that can be decoded and encoded */
    int16_t flexible_from;  /* first version with compact lengths and tags; INT16_MAX = none */
} KafkaMessage;

/* A row of the API table; message.h looks them up. */
typedef struct KafkaApi {
    int16_t key;
    const char *name; /* as Kafka spells it: "Fetch" */
    const KafkaMessage *request;
    const KafkaMessage *response;
    KafkaVersions offered; /* what a server of today advertises; request->versions may start earlier */
} KafkaApi;

/* Reads one message of that version. out is filled completely; what is variable in size is allocated from the
 * arena, or is a view of the input. Bytes may be left in the reader; the caller decides about those. Fails
 * with STATUS_CORRUPT (truncated, impossible length or count, null where it may not be, tags out of order),
 * STATUS_LIMIT (arena full) or STATUS_INVALID (a version outside message->versions), and says where. */
MUST_CHECK Status kafka_decode(const KafkaMessage *message, int16_t version, Reader *in, Arena *arena,
                               void *out);

/* Appends the message in that version. Records are referred to, everything else is copied. Fails with
 * STATUS_INVALID when the value cannot be said in that version (null where it may not be, a non-default value
 * of a field that the version lacks and that may not be dropped) and STATUS_LIMIT when memory is short; what
 * was appended so far is then of no use. */
MUST_CHECK Status kafka_encode(const KafkaMessage *message, int16_t version, const void *value, Writer *out);

/* Sets every field of one struct to its default; value may be uninitialised memory. For a message pass
 * &message->root. */
void kafka_defaults(const KafkaStruct *structure, void *value);

/* count structs set to their defaults, NULL when the arena is full. count 0 gives a non-NULL pointer. */
void *kafka_items_new(Arena *arena, const KafkaStruct *structure, size_t count);

#endif
