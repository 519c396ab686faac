/* commit.h: what every transaction that appends to a partition promises. See commit.c. */
#ifndef STREAMHOUSE_COMMIT_H
#define STREAMHOUSE_COMMIT_H

/* The current transaction will be flushed, and replicated where there are synchronous standbys, whatever
 * synchronous_commit says; it cannot be prepared. */
extern void require_durable_commit(void);

#endif
