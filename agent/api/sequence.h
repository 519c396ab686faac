/* sequence.h: a request about several things, each a call of its own in the brain: one after the other, so
 * that heartbeats, which take the same line, never wait for more than one of them. When all are answered and
 * something was changed, the catalog is read anew before the reply leaves: what it says can be seen at once.
 */
#ifndef STREAMHOUSE_SEQUENCE_H
#define STREAMHOUSE_SEQUENCE_H

#include "agent/api/api.h"
#include "agent/brain/brain.h"

/* The end of a statement that takes locks: what somebody's open transaction holds is not waited for long,
 * since heartbeats wait in the same line. */
#define SEQUENCE_BOUNDED " FROM (SELECT set_config('lock_timeout', '2s', true)) AS bounded"

typedef struct Sequence Sequence;

struct Sequence {
    /* For the handler to read. */
    KafkaRequest *request;
    void *response; /* set to its defaults */
    bool *repeated; /* of sequence_find_repeated() */
    /* For the handler to set. */
    int32_t count;
    bool changed; /* something succeeded */
    /* sequence.c's own. */
    int64_t deadline_ms; /* 0: none */
    int32_t next;
    bool asking; /* the brain has not answered yet */
    bool going;  /* sequence_run() is on the stack */
    void (*one)(Sequence *sequence, int32_t index);
    void (*reply)(Sequence *sequence);
};

/* Where one thing's answer goes. */
typedef struct SequenceAnswer {
    int16_t *error_code;
    Slice *message;        /* NULL: it has none */
    KafkaError when_false; /* error when the brain's first column is false */
    bool reads_only;       /* success is no change */
    /* Called when the brain has answered without an error; NULL: nothing more to do. */
    void (*told)(Sequence *sequence, const BrainResult *result, void *argument);
    void *argument;
} SequenceAnswer;

/* one is called for each index below count, in order; it ends in sequence_refuse(), sequence_ask() or neither
 * (done). NULL when memory is short; the request has ended then. timeout_ms: those whose turn comes later are
 * answered REQUEST_TIMED_OUT; 0 or less: none. */
Sequence *sequence_new(KafkaRequest *request, const KafkaStruct *response, int32_t count, int32_t timeout_ms,
                       void (*one)(Sequence *sequence, int32_t index), void (*reply)(Sequence *sequence));
void sequence_run(Sequence *sequence);

/* why is copied. */
void sequence_refuse(Sequence *sequence, const SequenceAnswer *answer, KafkaError error, const char *why);
/* Asks the brain; parameters are taken over. Once per index. */
void sequence_ask(Sequence *sequence, const SequenceAnswer *answer, const BrainStatement *statement,
                  BrainParameters *parameters);

/* Marks those that occur more than once, by sorting: there may be a hundred thousand. items are count structs
 * of size bytes. False when memory is short. */
MUST_CHECK bool sequence_find_repeated(Sequence *sequence, const void *items, size_t size,
                                       int (*compare)(const void *left, const void *right));

/* The request has no room for what it asks for: ends it. */
void sequence_too_large(KafkaRequest *request);

#endif
