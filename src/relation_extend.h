/* relation_extend.h: makes a table longer by many pages at once. See relation_extend.c. */
#ifndef STREAMHOUSE_RELATION_EXTEND_H
#define STREAMHOUSE_RELATION_EXTEND_H

#include "postgres.h"

#include "storage/block.h"
#include "utils/relcache.h"

typedef struct BlockRun {
    BlockNumber next;
    BlockNumber end;
} BlockRun;

/* Up to count new pages at the end of a table, at least one: zeros, with their place on the disk taken. */
extern BlockRun relation_extend(Relation table, BlockNumber count);

#endif
