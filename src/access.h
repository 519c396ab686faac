/* access.h: who calls, and what that role may do with a topic. See access.c. */
#ifndef STREAMHOUSE_ACCESS_H
#define STREAMHOUSE_ACCESS_H

#include "postgres.h"

typedef enum AccessPrivilege { ACCESS_PRODUCE, ACCESS_CONSUME } AccessPrivilege;

/* The role on whose behalf a sh_* function runs: GetUserId(), or, within a function that runs as the
 * extension's owner (owner_run()), the role that called that. */
extern Oid access_caller(void);

/* ERROR 42501, with a hint, unless the caller is the extension's owner or a superuser, a member of
 * streamhouse_admin, streamhouse_agent or of streamhouse_producer (streamhouse_consumer), or was granted the
 * privilege on the topic by sh_grant(). Answers are remembered until the transaction's end. */
extern void access_require(int32 topic_id, const char *topic, AccessPrivilege privilege);

#endif
