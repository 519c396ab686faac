/* readiness.h: the named conditions behind /ready. The agent is ready when all of them hold. A module adds
 * its own when it starts and moves them as things change:
 *
 *   agent->... = readiness_add(&agent->readiness, "database", "not connected yet");
 *   condition_hold(condition);
 *   condition_break(condition, "the connection to PostgreSQL was lost: %s", reason); */
#ifndef STREAMHOUSE_AGENT_READINESS_H
#define STREAMHOUSE_AGENT_READINESS_H

#include <stdbool.h>
#include <stddef.h>

enum { READINESS_CONDITIONS_MAX = 32, CONDITION_REASON_MAX = 200 };

typedef struct Condition {
    const char *name; /* outlives the process' modules: a literal */
    bool holds;
    bool degraded;                     /* it holds, but something that matters is wrong */
    char reason[CONDITION_REASON_MAX]; /* why it does not hold, or is degraded; empty else */
} Condition;

typedef struct Readiness {
    size_t count;
    Condition conditions[READINESS_CONDITIONS_MAX];
} Readiness;

/* A condition that does not hold yet. Never NULL: more than READINESS_CONDITIONS_MAX is a defect and aborts.
 * The same name gives the same condition. */
Condition *readiness_add(Readiness *readiness, const char *name, const char *reason);
bool readiness_holds(const Readiness *readiness);
/* One of them holds only just: the agent serves, and an operator wants to know. */
bool readiness_is_degraded(const Readiness *readiness);

/* All three log a line when the condition changes, and only then. */
void condition_hold(Condition *condition);
void condition_degrade(Condition *condition, const char *format, ...) __attribute__((format(printf, 2, 3)));
void condition_break(Condition *condition, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
