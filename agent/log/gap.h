/* gap.h: producers whose batch failed and was not sent again yet. Until it is, what they send after it is
 * refused: the brain takes any first sequence from a producer it does not know, and would then refuse the
 * failed batch for good. */
#ifndef STREAMHOUSE_GAP_H
#define STREAMHOUSE_GAP_H

#include "agent/kafka/error.h"
#include "agent/log/append.h"

typedef struct Gap Gap;

/* Bounded: the oldest are forgotten first, and all of them after a while. */
typedef struct Gaps {
    Gap *by_stream;
    size_t count;
} Gaps;

enum { GAPS_MAX = 16384, GAP_FORGET_MS = 2 * 60 * 1000, GAP_ELSEWHERE_MS = 500 };

/* The batch failed with an error that its producer answers by sending it again. */
void gap_open(Gaps *gaps, const Append *failed, KafkaError error, int64_t now_ms);

/* The batch is in the log. If it is the one that was missing, sent twice, its producer does not send it
 * again. */
void gap_fill(Gaps *gaps, const Append *committed);

/* The batch was refused before it was taken, since this agent does not lead the partition. What its producer
 * has under way behind it may arrive when the agent does. Not for long: it may be sent again to another
 * agent. */
void gap_open_elsewhere(Gaps *gaps, const Partition *partition, const BatchHeader *header, int64_t now_ms);

/* NONE, and the gap is closed when this is the batch that was missing; else what the missing one failed with.
 * Soon given up once the agent has the partition under another lease than that of the missing batch. */
KafkaError gap_check(Gaps *gaps, const Partition *partition, const BatchHeader *header, int64_t now_ms);

void gaps_free(Gaps *gaps);

#endif
