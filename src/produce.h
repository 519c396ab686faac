/* produce.h: what the functions that produce have in common. See produce.c. */
#ifndef STREAMHOUSE_PRODUCE_H
#define STREAMHOUSE_PRODUCE_H

#include "postgres.h"

#include "fmgr.h"
#include "outbox.h"

/* The topic named by the first argument; the transaction has an outbox from here on. */
extern ProduceTopic *produce_begin(FunctionCallInfo fcinfo, const char *function);

/* Chooses the partition for records without a key, of those that nobody has locked, and locks it: until the
 * transaction ends they all go there. */
extern int32 produce_choose_locked(ProduceTopic *topic);

#endif
