/* owner.h: functions that run with the rights of the extension's owner and still know who called. See
 * owner.c. */
#ifndef STREAMHOUSE_OWNER_H
#define STREAMHOUSE_OWNER_H

#include "postgres.h"

/* Who owns schema streamhouse and with it every table. */
extern Oid owner_id(void);

/* Runs work(argument) as the owner; access_caller() then is who called. */
extern void owner_run(void (*work)(void *argument), void *argument);

/* Likewise, for work that is all C and finds nothing by a name without its schema: the search_path stays what
 * it is, which costs less than changing it twice. */
extern void owner_run_c(void (*work)(void *argument), void *argument);

#endif
