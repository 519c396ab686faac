/* owner.h: functions that run with the rights of the extension's owner and still know who called. See
 * owner.c. */
#ifndef STREAMHOUSE_OWNER_H
#define STREAMHOUSE_OWNER_H

#include "postgres.h"

/* Who owns schema streamhouse and with it every table. */
extern Oid owner_id(void);

/* The role that called the function that runs as the owner at the moment; InvalidOid when none does. */
extern Oid owner_caller(void);

/* Runs work(argument) as the owner; owner_caller() then is who called. */
extern void owner_run(void (*work)(void *argument), void *argument);

#endif
