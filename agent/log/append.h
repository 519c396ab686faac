/* append.h: one record batch of a producer on its way into the log, and what it travels in.
 *
 * A batch is gathered with others into an Upload, stored, committed in the brain and answered. Storing is a
 * PUT of an object; an upload that goes inline has none, since its commits carry the bytes. Batches of one
 * partition are committed in the order they were accepted: Partition.appends is that order, across uploads.
 */
#ifndef STREAMHOUSE_APPEND_H
#define STREAMHOUSE_APPEND_H

#include "agent/catalog/topic.h"
#include "agent/kafka/error.h"
#include "common/batch.h"
#include "common/block.h"
#include "common/object_format.h"

typedef struct Upload Upload;
typedef struct UploadCall UploadCall;

typedef enum AppendState {
    APPEND_GATHERED,   /* in an upload that is not in the store yet */
    APPEND_STORED,     /* its bytes are durable, its commit is not asked for yet */
    APPEND_COMMITTING, /* the brain was asked; until it answers the outcome is open */
    APPEND_LOCKED,     /* somebody holds the partition, or no answer came; asked again at retry_at_ms */
    APPEND_FINAL       /* committed, or certain never to be */
} AppendState;

/* Ids of inline calls that were reserved together; see inline.c. */
typedef struct CallBlock CallBlock;

/* error 0: durable at base_offset. Called exactly once. */
typedef void (*AppendAnswered)(void *argument, KafkaError error, int64_t base_offset);

struct Append {
    Append *prev; /* in Partition.appends */
    Append *next;
    Partition *partition;
    Upload *upload;
    Block *frame;   /* keeps bytes alive; NULL when they are not needed any more */
    uint8_t *bytes; /* the batch as the producer sent it */
    int32_t size;
    BatchHeader header;
    int32_t lease_epoch; /* when accepted */
    int32_t ordinal;     /* in its upload, once that is sealed; for ever, as answers are kept under it */
    int64_t byte_start;  /* likewise */
    int64_t deadline_ms;
    int64_t retry_at_ms;
    uint32_t retries;
    uint32_t locked;  /* answers in a row that its partition was locked */
    bool retry_alone; /* in a call of its partition alone */
    bool in_doubt;    /* asked for and not answered: a call that comes late may yet commit it */
    bool early;       /* what its producer sent before it has not come here yet */
    AppendState state;
    bool answered;
    AppendAnswered done;
    void *argument;
};

typedef enum UploadState {
    UPLOAD_OPEN,    /* takes batches */
    UPLOAD_SEALED,  /* complete, waits for an intent and a slot, or to be tried again */
    UPLOAD_PUTTING, /* the store has it */
    UPLOAD_STORED,  /* durable, or inline; batches commit as their partitions allow */
    UPLOAD_FAILED   /* the store refused it for good; nothing of it will be committed */
} UploadState;

struct Upload {
    Upload *prev; /* in Log.uploads, oldest first */
    Upload *next;
    UploadState state;
    WritePath path;  /* WRITE_OBJECT, or inline: by choice (WRITE_AUTO) or because its topics say so */
    bool commit_due; /* has batches that may be committable */
    Append **appends;
    size_t append_count;
    size_t append_capacity;
    size_t unfinished; /* appends not APPEND_FINAL, plus calls under way */
    size_t bytes;      /* batches only */
    int64_t opened_ms;
    int64_t newest_ms;            /* when its last batch came */
    int64_t earliest_deadline_ms; /* of its batches without an answer */
    int64_t latest_deadline_ms;
    int64_t object_id; /* of an inline upload: the id of its calls */
    CallBlock *block;  /* that has this id; NULL: not inline */
    char key[128];
    UploadCall *puts[2];    /* under way: the first one, and its hedge */
    int64_t put_started_ms; /* the first one */
    bool hedged;
    bool rerouting;      /* its PUTs were told to stop, so that it can go inline */
    int64_t retry_at_ms; /* sealed again after a PUT that failed: not before */
    unsigned retries;
    ObjectWriter
        object; /* the sealed form; its slices are what is PUT. Inline: for order and ordinals only */
};

#endif
