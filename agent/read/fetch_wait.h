/* fetch_wait.h: somebody who wants to know when a partition moves: a fetch that waits, or a fetch session. */
#ifndef STREAMHOUSE_FETCH_WAIT_H
#define STREAMHOUSE_FETCH_WAIT_H

#include <utlist.h>

#include "agent/catalog/topic.h"

/* In the partition's list. moved is called from the loop and changes no list of waits. */
struct FetchWait {
    FetchWait *prev;
    FetchWait *next;
    Partition *partition; /* NULL while it is in no list */
    void (*moved)(FetchWait *wait);
};

static inline void fetch_wait_begin(FetchWait *wait, Partition *partition, void (*moved)(FetchWait *wait))
{
    wait->partition = partition;
    wait->moved = moved;
    DL_APPEND(partition->waits, wait);
}

static inline void fetch_wait_end(FetchWait *wait)
{
    if (wait->partition) {
        DL_DELETE(wait->partition->waits, wait);
        wait->partition = NULL;
    }
}

static inline void fetch_wait_tell(const Partition *partition)
{
    FetchWait *wait;
    DL_FOREACH(partition->waits, wait)
    {
        wait->moved(wait);
    }
}

#endif
