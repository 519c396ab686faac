/* roster.c: groups by name and by id, and in each its members by id. */
#include "agent/roster/roster.h"

#include <stdlib.h>

#include <uthash.h>

/* A share of the session timeout; the brain allows for a quarter (group_member.last_seen). */
enum { ROSTER_TELL_DIVISOR = 8, ROSTER_SILENT_TIMEOUTS = 2 };
/* What could not be told for so long, because there are too many members, the member's heartbeat tells. */
enum { ROSTER_UNTOLD_DIVISOR = 2 };
enum { ROSTER_NEVER_MS = INT32_MIN };
/* What the hash tables need for an entry beside its handle. */
enum { ROSTER_ENTRY_OVERHEAD = 32 };

typedef struct RosterMember {
    UT_hash_handle by_id;
    int64_t version; /* of the group, when it was settled */
    int64_t heard_ms;
    int64_t told_ms; /* the brain knows that it lived then */
    int32_t epoch;
    int32_t session_timeout_ms;
    int32_t heartbeat_interval_ms;
    bool settled;
    char *instance_id; /* behind the id, NULL for none */
    size_t instance_size;
    size_t size; /* of this entry */
    size_t id_size;
    char id[];
} RosterMember;

typedef struct RosterGroup {
    UT_hash_handle by_name;
    UT_hash_handle by_id;
    RosterMember *members;
    int64_t version;
    int64_t checked_ms; /* when the version was asked for */
    int32_t group_id;
    size_t size;
    size_t name_size;
    char name[];
} RosterGroup;

struct Roster {
    RosterGroup *by_name;
    RosterGroup *by_id;
    size_t bytes;
    size_t bytes_max;
    size_t member_count;
};

Roster *roster_new(size_t bytes_max)
{
    Roster *roster = calloc(1, sizeof(Roster));
    if (roster) {
        roster->bytes_max = bytes_max;
    }
    return roster;
}

static void member_drop(Roster *roster, RosterGroup *group, RosterMember *member)
{
    HASH_DELETE(by_id, group->members, member);
    roster->bytes -= member->size;
    roster->member_count--;
    free(member);
}

static void group_drop(Roster *roster, RosterGroup *group)
{
    while (group->members) {
        member_drop(roster, group, group->members);
    }
    HASH_DELETE(by_name, roster->by_name, group);
    HASH_DELETE(by_id, roster->by_id, group);
    roster->bytes -= group->size;
    free(group);
}

void roster_free(Roster *roster)
{
    while (roster && roster->by_name) {
        group_drop(roster, roster->by_name);
    }
    free(roster);
}

void roster_resize(Roster *roster, size_t bytes_max)
{
    roster->bytes_max = bytes_max;
}

size_t roster_bytes(const Roster *roster)
{
    return roster->bytes;
}

size_t roster_member_count(const Roster *roster)
{
    return roster->member_count;
}

static RosterGroup *group_find(const Roster *roster, Slice name)
{
    RosterGroup *group = NULL;
    HASH_FIND(by_name, roster->by_name, name.data, name.size, group);
    return group;
}

static RosterMember *member_find(const RosterGroup *group, Slice member_id)
{
    RosterMember *member = NULL;
    HASH_FIND(by_id, group->members, member_id.data, member_id.size, member);
    return member;
}

static Slice member_instance(const RosterMember *member)
{
    return member->instance_id ? slice_of(member->instance_id, member->instance_size) : SLICE_NULL;
}

bool roster_knows(Roster *roster, const RosterBeat *beat, int64_t now_ms, int32_t *heartbeat_interval_ms)
{
    const RosterGroup *group = group_find(roster, beat->group);
    RosterMember *member = group ? member_find(group, beat->member_id) : NULL;
    if (!member || !member->settled || member->version != group->version || member->epoch != beat->epoch ||
        now_ms - group->checked_ms > ROSTER_FRESH_MS ||
        now_ms - member->told_ms > member->session_timeout_ms / ROSTER_UNTOLD_DIVISOR ||
        !slice_equals(member_instance(member), beat->instance_id)) {
        return false;
    }
    member->heard_ms = now_ms;
    *heartbeat_interval_ms = member->heartbeat_interval_ms;
    return true;
}

static bool roster_has_room(const Roster *roster, size_t size)
{
    return size <= roster->bytes_max && roster->bytes <= roster->bytes_max - size;
}

static RosterGroup *group_add(Roster *roster, Slice name, int32_t group_id)
{
    size_t size = sizeof(RosterGroup) + name.size + ROSTER_ENTRY_OVERHEAD;
    RosterGroup *group = roster_has_room(roster, size) ? calloc(1, size) : NULL;
    if (!group) {
        return NULL;
    }
    group->group_id = group_id;
    group->size = size;
    group->name_size = name.size;
    memcpy(group->name, name.data, name.size);
    HASH_ADD_KEYPTR(by_name, roster->by_name, group->name, group->name_size, group);
    HASH_ADD(by_id, roster->by_id, group_id, sizeof(group->group_id), group);
    roster->bytes += size;
    return group;
}

static RosterMember *member_add(Roster *roster, RosterGroup *group, const RosterBeat *beat, int64_t told_ms)
{
    size_t size =
        sizeof(RosterMember) + beat->member_id.size + beat->instance_id.size + ROSTER_ENTRY_OVERHEAD;
    RosterMember *member = roster_has_room(roster, size) ? calloc(1, size) : NULL;
    if (!member) {
        return NULL;
    }
    member->size = size;
    member->told_ms = told_ms;
    member->id_size = beat->member_id.size;
    memcpy(member->id, beat->member_id.data, beat->member_id.size);
    if (!slice_is_null(beat->instance_id)) {
        member->instance_id = member->id + member->id_size;
        member->instance_size = beat->instance_id.size;
        memcpy(member->instance_id, beat->instance_id.data, beat->instance_id.size);
    }
    HASH_ADD_KEYPTR(by_id, group->members, member->id, member->id_size, member);
    roster->bytes += size;
    roster->member_count++;
    return member;
}

/* The group of that name, and of that id: one that was deleted and made again has another. */
static RosterGroup *group_get(Roster *roster, Slice name, int32_t group_id)
{
    RosterGroup *group = group_find(roster, name);
    if (group && group->group_id != group_id) {
        group_drop(roster, group);
        group = NULL;
    }
    return group ? group : group_add(roster, name, group_id);
}

static RosterMember *member_get(Roster *roster, RosterGroup *group, const RosterBeat *beat, int64_t told_ms)
{
    RosterMember *member = member_find(group, beat->member_id);
    if (member && !slice_equals(member_instance(member), beat->instance_id)) {
        member_drop(roster, group, member);
        member = NULL;
    }
    return member ? member : member_add(roster, group, beat, told_ms);
}

void roster_learn(Roster *roster, const RosterBeat *beat, const RosterAnswer *answer, int64_t asked_ms)
{
    RosterGroup *group = group_get(roster, beat->group, answer->group_id);
    RosterMember *member = group ? member_get(roster, group, beat, asked_ms) : NULL;
    if (!member) {
        return;
    }
    group->version = answer->version;
    group->checked_ms = asked_ms > group->checked_ms ? asked_ms : group->checked_ms;
    member->version = answer->version;
    member->settled = answer->settled;
    member->epoch = beat->epoch;
    member->heard_ms = asked_ms > member->heard_ms ? asked_ms : member->heard_ms;
    member->told_ms = asked_ms > member->told_ms ? asked_ms : member->told_ms;
    member->session_timeout_ms = answer->session_timeout_ms;
    member->heartbeat_interval_ms = answer->heartbeat_interval_ms;
}

void roster_forget(Roster *roster, Slice group_name, Slice member_id)
{
    RosterGroup *group = group_find(roster, group_name);
    RosterMember *member = group ? member_find(group, member_id) : NULL;
    if (group) {
        group->checked_ms = ROSTER_NEVER_MS;
    }
    if (member) {
        member_drop(roster, group, member);
    }
}

size_t roster_groups(const Roster *roster, int32_t *group_ids, size_t max)
{
    size_t count = 0;
    for (const RosterGroup *group = roster->by_id; group; group = group->by_id.next) {
        if (count < max) {
            group_ids[count] = group->group_id;
        }
        count++;
    }
    return count;
}

void roster_confirm(Roster *roster, int32_t group_id, int64_t version, int64_t asked_ms)
{
    RosterGroup *group = NULL;
    HASH_FIND(by_id, roster->by_id, &group_id, sizeof(group_id), group);
    if (group) {
        group->version = version;
        group->checked_ms = asked_ms > group->checked_ms ? asked_ms : group->checked_ms;
    }
}

static bool member_is_silent(const RosterMember *member, int64_t now_ms)
{
    return now_ms - member->heard_ms > (int64_t)member->session_timeout_ms * ROSTER_SILENT_TIMEOUTS;
}

void roster_sweep(Roster *roster, int64_t now_ms)
{
    RosterGroup *group;
    RosterGroup *next_group;
    HASH_ITER(by_name, roster->by_name, group, next_group)
    {
        RosterMember *member;
        RosterMember *next_member;
        HASH_ITER(by_id, group->members, member, next_member)
        {
            if (member_is_silent(member, now_ms)) {
                member_drop(roster, group, member);
            }
        }
        if (!group->members) {
            group_drop(roster, group);
        }
    }
}

static bool member_is_to_be_told(const RosterMember *member, int64_t now_ms)
{
    return member->heard_ms > member->told_ms &&
           now_ms - member->told_ms >= member->session_timeout_ms / ROSTER_TELL_DIVISOR;
}

size_t roster_take_seen(Roster *roster, int64_t now_ms, RosterSeen *seen, size_t max)
{
    size_t count = 0;
    for (RosterGroup *group = roster->by_name; group; group = group->by_name.next) {
        for (RosterMember *member = group->members; member && count < max; member = member->by_id.next) {
            if (member_is_to_be_told(member, now_ms)) {
                member->told_ms = member->heard_ms;
                seen[count++] = (RosterSeen){ group->group_id, slice_of(member->id, member->id_size),
                                              (int32_t)(now_ms - member->heard_ms) };
            }
        }
    }
    return count;
}
