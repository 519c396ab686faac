/* coverage.h: what schedules are about, and how many met it. What no schedule of a long run meets is not
 * tested by it: the run fails. */
#ifndef STREAMHOUSE_SIM_COVERAGE_H
#define STREAMHOUSE_SIM_COVERAGE_H

/* X(ID, text) */
/* clang-format off */
#define COVERAGE(X) \
    X(KILL, "an agent was killed") \
    X(PAUSE, "an agent was paused") \
    X(PAUSE_LONG, "an agent was paused for longer than its lease") \
    X(DRAIN, "an agent drained") \
    X(SKEW, "agents' clocks ran at different speeds") \
    X(CUT, "an agent's connections to PostgreSQL died") \
    X(BLACKOUT, "an agent was cut off from PostgreSQL for a while") \
    X(RESTART, "PostgreSQL restarted") \
    X(FAILOVER, "PostgreSQL failed over") \
    X(ROLLED_BACK, "a restart rolled back an open transaction") \
    X(KEPT_OPEN, "a restart kept a transaction that nobody had been told of") \
    X(EXPIRY, "a lease of an agent that was taken for dead moved") \
    X(HANDOVER, "a lease was to move between agents that lived") \
    X(HANDED, "an agent handed a lease over itself") \
    X(OVERRULED, "an agent that did not hand over in time was overruled") \
    X(PARKED, "a batch waited while its partition changed hands") \
    X(LEFT, "a lease that nobody held got a leader") \
    X(LAPSE, "an agent's lease lapsed and was renewed") \
    X(REPLACED, "an agent came back under its name") \
    X(NOT_LEADER, "a request met an agent that does not lead") \
    X(FENCED, "a commit was fenced") \
    X(DUPLICATE, "a commit was a duplicate") \
    X(OUT_OF_ORDER, "a commit was out of order") \
    X(LOCKED, "a commit found a partition locked") \
    X(WAITED, "a commit waited for a lock") \
    X(BUSY, "a commit waited for a lock in vain") \
    X(IN_DOUBT, "a commit was asked for and not answered") \
    X(KEPT_ANSWER, "a kept answer was given again") \
    X(LATE, "a commit was carried out after its connection was given up") \
    X(GAP, "a batch was refused, since an earlier one of its producer had failed") \
    X(EXPIRED_BATCH, "a batch ran out of time") \
    X(INLINE, "records were committed inline") \
    X(FULL, "PostgreSQL took no more records inline") \
    X(OBJECT, "an object was committed") \
    X(PUT_FAILED, "a PUT failed") \
    X(PUT_LOST, "a PUT's reply was lost, and the object was there") \
    X(PUT_LATE, "a PUT arrived after it was given up") \
    X(OUTAGE, "the store was out for a while") \
    X(INTENT_EXPIRED, "an object came too late to be committed") \
    X(REAPED, "an object was reaped") \
    X(WRAP, "a producer's sequences wrapped round") \
    X(DISCONNECT, "a client's connection broke") \
    X(SQL_APPEND, "SQL appended between producers") \
    X(ACKED, "all records were acknowledged")
/* clang-format on */

typedef enum Cover {
#define COVER_ID(id, text) COVER_##id,
    COVERAGE(COVER_ID)
#undef COVER_ID
        COVERS
} Cover;

#endif
