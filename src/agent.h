/* agent.h: heartbeats that bring no news. See agent.c. */
#ifndef STREAMHOUSE_AGENT_H
#define STREAMHOUSE_AGENT_H

/* What this transaction has written since it renewed an agent, if it has done nothing else, may be lost with
 * the renewal when the server crashes. */
extern void agent_renewed_only(void);

/* Called once by _PG_init: a callback. */
extern void agent_init(void);

#endif
