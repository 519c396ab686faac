/* agent.h: heartbeats that bring no news. See agent.c. */
#ifndef STREAMHOUSE_AGENT_H
#define STREAMHOUSE_AGENT_H

/* Called once by _PG_init: a callback. */
extern void agent_init(void);

#endif
