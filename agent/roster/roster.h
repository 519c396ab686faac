/* roster.h: what the agent remembers of consumer groups (KIP-848), so that a heartbeat without news can be
 * answered without asking the brain. A copy: a member that was settled (it has its target assignment) when
 * the brain last answered it has no news as long as its group has the version of that answer, and the group's
 * version is good for ROSTER_FRESH_MS from when it was asked for. Whatever is not in it, or in doubt, is
 * asked. Pure: roster_service.c asks and tells. */
#ifndef STREAMHOUSE_ROSTER_H
#define STREAMHOUSE_ROSTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/slice.h"

typedef struct Roster Roster;

/* Groups' versions are asked for once a second; two answers may be missing. */
enum { ROSTER_POLL_MS = 1000, ROSTER_FRESH_MS = 3500 };

/* One member's heartbeat that says nothing but that it lives. */
typedef struct RosterBeat {
    Slice group;
    Slice member_id;
    Slice instance_id; /* null: a dynamic member */
    int32_t epoch;
} RosterBeat;

/* What the brain answered to a member. */
typedef struct RosterAnswer {
    int32_t group_id;
    int64_t version;
    bool settled;
    int32_t heartbeat_interval_ms;
    int32_t session_timeout_ms;
} RosterAnswer;

/* bytes_max: what is beyond that is not remembered. NULL when memory is short. */
Roster *roster_new(size_t bytes_max);
void roster_free(Roster *roster);
void roster_resize(Roster *roster, size_t bytes_max);
size_t roster_bytes(const Roster *roster);
size_t roster_member_count(const Roster *roster);

/* Whether there is no news for the member; then it counts as heard of, and the interval is what to tell it.
 */
bool roster_knows(Roster *roster, const RosterBeat *beat, int64_t now_ms, int32_t *heartbeat_interval_ms);
/* beat->epoch is the one the member has now; asked_ms: when the brain was asked. */
void roster_learn(Roster *roster, const RosterBeat *beat, const RosterAnswer *answer, int64_t asked_ms);
/* The member left, or is not what it says: its group has another version by now, for all that is known. */
void roster_forget(Roster *roster, Slice group, Slice member_id);

/* Ids of all groups. Returns how many there are; fills at most max. */
size_t roster_groups(const Roster *roster, int32_t *group_ids, size_t max);
/* The group had this version when it was asked for at asked_ms. */
void roster_confirm(Roster *roster, int32_t group_id, int64_t version, int64_t asked_ms);
/* Forgets members that were silent for two session timeouts, and groups without members. */
void roster_sweep(Roster *roster, int64_t now_ms);

/* A member that was heard of and of which the brain has to be told. */
typedef struct RosterSeen {
    int32_t group_id;
    Slice member_id; /* valid until the roster changes */
    int32_t age_ms;
} RosterSeen;

/* At most max members that were heard of since the brain last knew, an eighth of their session timeout ago or
 * longer; they then count as told. */
size_t roster_take_seen(Roster *roster, int64_t now_ms, RosterSeen *seen, size_t max);

#endif
