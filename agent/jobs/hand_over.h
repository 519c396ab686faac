/* hand_over.h: partitions that change hands while both agents live. The brain names the next leader; the
 * present one stops accepting, waits for what is under way, a few dozen ms at most, and gives the lease up;
 * all agents hear of it at once. Batches that come meanwhile, to either of the two, wait parked rather than
 * being refused: at the old leader until it can say who leads, at the new one until it does. */
#ifndef STREAMHOUSE_HAND_OVER_H
#define STREAMHOUSE_HAND_OVER_H

#include "agent/agent.h"
#include "agent/catalog/topic.h"

typedef struct HandOver HandOver;

/* A batch that waits; the caller's memory. */
typedef struct Parked {
    struct Parked *next;
    Partition *partition; /* its topic is held */
    int64_t until_ms;
    void (*resume)(
        struct Parked *parked); /* later, exactly once: look again who leads, and do not park again */
} Parked;

/* Listens and waits; NULL when memory is short. */
HandOver *hand_over_new(Agent *agent);
/* Resumes what is parked. */
void hand_over_free(HandOver *hand_over);

/* Parks a batch if its partition is changing hands, or others of it are parked; false: go on. hand_over may
 * be NULL. */
bool hand_over_park(HandOver *hand_over, Parked *parked, Partition *partition,
                    void (*resume)(Parked *parked));

/* A topic's leaders changed: what waited for that goes on. */
void hand_over_moved(HandOver *hand_over);

#endif
