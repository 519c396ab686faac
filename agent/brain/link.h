/* link.h: one of the brain's connections: its state, its queue, and what was sent on it. */
#ifndef STREAMHOUSE_BRAIN_LINK_H
#define STREAMHOUSE_BRAIN_LINK_H

#include "agent/brain/brain.h"
#include "agent/brain/connect.h"

/* Waiting (back-off) -> connecting -> greeting (session settings) -> ready; anything -> waiting when it
 * fails; anything -> closed. */
typedef enum LinkState {
    LINK_WAITING,
    LINK_CONNECTING,
    LINK_GREETING,
    LINK_READY,
    LINK_CLOSED,
    LINK_STATE_COUNT
} LinkState;

/* One query on its way. */
typedef struct BrainCall BrainCall;
struct BrainCall {
    BrainCall *next;
    const BrainStatement *statement;
    BrainParameters parameters;
    BrainCallback callback;
    void *arg;
    int64_t started_ns;
    int64_t deadline_ms; /* time_ms() */
    Status refusal;      /* of calls that never reach a link */
    bool preparing;      /* the statement's preparation was sent along and is not confirmed yet */
    PGresult *rows;
    PGresult *error;
};

typedef struct CallList {
    BrainCall *first;
    BrainCall **last; /* where the next one is linked */
    int count;
} CallList;

/* A statement this connection was asked to prepare. */
typedef struct LinkStatement {
    const BrainStatement *statement;
    bool prepared;       /* or being prepared by what was sent before */
    unsigned generation; /* part of its name: a statement that went bad is prepared again under another */
} LinkStatement;

typedef struct Link {
    Brain *brain;
    BrainLine line;
    LinkState state;
    Connect *attempt;
    PGconn *connection;
    uv_poll_t *poll; /* frees itself */
    int poll_events;
    uv_timer_t retry;
    int attempts;     /* since it was last ready */
    int64_t lost_ms;  /* when it was last ready, or began to try */
    int first_host;   /* which the attempt began with, or the connection is to */
    int32_t timeline; /* of the server it is connected to; 0 not known */
    bool missed;      /* the journal has told of the loss, and not yet of the return */
    int pipeline;     /* queries that may be under way */
    int silence;      /* ends of results in a row without a result */
    CallList queued;
    CallList sent;
    size_t bytes; /* of parameters in both lists */
    LinkStatement statements[BRAIN_STATEMENTS_MAX];
    int statement_count;
    char reason[STATUS_MESSAGE_MAX];   /* why it is not ready */
    char farewell[STATUS_MESSAGE_MAX]; /* what the server said before it hung up */
} Link;

/* call.c */
void call_append(CallList *list, BrainCall *call);
BrainCall *call_take(CallList *list);
void call_free(BrainCall *call);
/* Whether its error says that the prepared statement is of no use any more. */
bool call_is_stale(const BrainCall *call);
/* Each of these ends a call in its callback and frees it: with the server's answer, */
void call_answer(BrainCall *call, BrainLine line);
/* without one though it was sent, */
void call_doubt(BrainCall *call, int64_t now_ms, const char *why);
/* or without ever being sent. */
void call_fail(BrainCall *call, Status status);

/* link.c: sending and receiving */
void link_init(Link *link, Brain *brain, BrainLine line, int pipeline);
const char *link_name(const Link *link);
/* Sends a query of the brain's own ahead of everything that waits. False when memory is short. */
bool link_push(Link *link, const BrainStatement *statement, BrainCallback callback, void *arg);
/* Sends what may be sent. */
void link_pump(Link *link);
/* Ends calls whose time is over. */
void link_sweep(Link *link, int64_t now_ms);
bool link_watch_socket(Link *link);

/* link_session.c: connecting, greeting, losing and trying again */
/* Begins the next attempt. */
void link_connect(Link *link);
/* Ends a back-off: a server was found. */
void link_hurry(Link *link);
/* Drops the connection: everything sent fails in doubt, and after a back-off the next attempt begins. */
void link_lose(Link *link, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Drops the connection for good and ends every call with CANCELLED. */
void link_close(Link *link);

/* brain.c */
const BrainOptions *brain_options(const Brain *brain);
uv_loop_t *brain_loop(const Brain *brain);
Primary *brain_primary(Brain *brain);
/* Whether the link may try by itself: while no server is found, one link looks for it and the others wait. */
bool brain_may_connect(const Brain *brain, const Link *link);
/* The link's server says its timeline. False when it is an outdated primary, and the link was lost over it.
 */
bool brain_meet(Brain *brain, Link *link, int32_t timeline);
/* A link became ready or ceased to be. */
void brain_link_changed(Brain *brain, Link *link);
void brain_notify(Brain *brain, const char *channel, Slice payload);
/* A handle of the brain was closed. */
void brain_handle_closed(Brain *brain);

#endif
