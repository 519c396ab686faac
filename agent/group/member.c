/* member.c: who is in a group, under which id, and which protocols all of them speak. */
#include <stdlib.h>

#include "agent/group/group_internal.h"

#define MEMBER_OF(node, field) ((GroupMember *)((char *)(node)-offsetof(GroupMember, field)))

static size_t protocols_bytes(const GroupProtocol *protocols, size_t count)
{
    size_t bytes = count * (sizeof(GroupProtocol) + sizeof(ProtocolCount));
    for (size_t i = 0; i < count; i++) {
        bytes += 2 * protocols[i].name.size + protocols[i].metadata.size;
    }
    return bytes;
}

size_t member_spec_bytes(const GroupStoredMember *spec)
{
    return sizeof(GroupMember) + spec->member_id.size + spec->instance_id.size + spec->client_id.size +
           spec->client_host.size + spec->assignment.size +
           protocols_bytes(spec->protocols, spec->protocol_count);
}

static uint8_t *slice_put(uint8_t *out, Slice in, Slice *copy)
{
    *copy = slice_is_null(in) ? SLICE_NULL : slice_of(out, in.size);
    if (in.size > 0) {
        memcpy(out, in.data, in.size);
    }
    return out + in.size;
}

static void member_recharge(GroupMember *member)
{
    GroupStoredMember spec = group_member_stored(member);
    group_discharge(member->group, member->bytes);
    member->bytes = member_spec_bytes(&spec);
    group_charge(member->group, member->bytes);
}

GroupMember *member_new(Group *group, const GroupStoredMember *spec)
{
    GroupMember *member = calloc(1, sizeof(GroupMember));
    uint8_t *texts = malloc(spec->member_id.size + spec->instance_id.size + spec->client_id.size +
                            spec->client_host.size + 1);
    if (!member || !texts) {
        free(member);
        free(texts);
        return NULL;
    }
    member->group = group;
    member->texts = texts;
    uint8_t *end = slice_put(texts, spec->member_id, &member->id);
    end = slice_put(end, spec->instance_id, &member->instance_id);
    end = slice_put(end, spec->client_id, &member->client_id);
    slice_put(end, spec->client_host, &member->client_host);
    member->session_timeout_ms = spec->session_timeout_ms;
    member->rebalance_timeout_ms = spec->rebalance_timeout_ms;
    member->session.expired = member_session_expired;
    if (!member_set_protocols(member, spec->protocols, spec->protocol_count) ||
        !member_set_assignment(member, spec->assignment)) {
        member_free(member);
        return NULL;
    }
    return member;
}

void member_free(GroupMember *member)
{
    group_discharge(member->group, member->bytes);
    timer_stop(&member->group->groups->timers, &member->session);
    free(member->texts);
    free(member->protocols);
    free(member->assignment);
    free(member);
}

static bool protocols_have(const GroupProtocol *protocols, size_t count, Slice name)
{
    for (size_t i = 0; i < count; i++) {
        if (slice_equals(protocols[i].name, name)) {
            return true;
        }
    }
    return false;
}

/* Of a protocol that is named twice, the first one counts. */
bool member_set_protocols(GroupMember *member, const GroupProtocol *protocols, size_t count)
{
    size_t bytes = protocols_bytes(protocols, count) + 1;
    GroupProtocol *copies = malloc(bytes);
    if (!copies) {
        return false;
    }
    uint8_t *end = (uint8_t *)(copies + count);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (!protocols_have(copies, kept, protocols[i].name)) {
            end = slice_put(end, protocols[i].name, &copies[kept].name);
            end = slice_put(end, protocols[i].metadata, &copies[kept].metadata);
            kept++;
        }
    }
    free(member->protocols);
    member->protocols = copies;
    member->protocol_count = kept;
    member_recharge(member);
    return true;
}

bool member_matches(const GroupMember *member, const GroupProtocol *protocols, size_t count)
{
    bool same = member->protocol_count == count;
    for (size_t i = 0; same && i < count; i++) {
        same = slice_equals(member->protocols[i].name, protocols[i].name) &&
               slice_equals(member->protocols[i].metadata, protocols[i].metadata);
    }
    return same;
}

bool member_set_assignment(GroupMember *member, Slice assignment)
{
    uint8_t *copy = assignment.size > 0 ? malloc(assignment.size) : NULL;
    if (assignment.size > 0) {
        if (!copy) {
            return false;
        }
        memcpy(copy, assignment.data, assignment.size);
    }
    free(member->assignment);
    member->assignment = copy;
    member->assignment_size = assignment.size;
    member_recharge(member);
    return true;
}

Slice member_assignment(const GroupMember *member)
{
    return member->assignment ? slice_of(member->assignment, member->assignment_size) : group_empty_slice();
}

bool member_is_excused(const GroupMember *member)
{
    return !member->is_new && (member->joining || member->syncing);
}

void member_session_begins(GroupMember *member, int64_t timeout_ms)
{
    timer_set(&member->group->groups->timers, &member->session, group_now(member->group) + timeout_ms);
}

void member_mark_joined(GroupMember *member, bool joined)
{
    member->group->joined_count += joined && !member->joined;
    member->group->joined_count -= !joined && member->joined;
    member->joined = joined;
}

void member_mark_sync_due(GroupMember *member, bool due)
{
    member->group->sync_due_count += due && !member->sync_due;
    member->group->sync_due_count -= !due && member->sync_due;
    member->sync_due = due;
}

void member_answer_join(GroupMember *member, const GroupAnswer *answer)
{
    GroupWait *wait = member->joining;
    member->joining = NULL;
    member->replacing = MEMBER_SETTLED;
    member_mark_joined(member, false);
    if (wait) {
        wait->member = NULL;
        wait->answered(wait, answer);
    }
}

void member_answer_sync(GroupMember *member, const GroupAnswer *answer)
{
    GroupWait *wait = member->syncing;
    member->syncing = NULL;
    if (wait) {
        wait->member = NULL;
        wait->answered(wait, answer);
    }
}

void member_fail(GroupMember *member, KafkaError error)
{
    GroupAnswer answer = group_answer(error);
    member_answer_join(member, &answer);
    member_answer_sync(member, &answer);
}

GroupMember *group_member_any(const Group *group, Slice member_id)
{
    TableNode *node = table_find(&group->ids, member_id);
    return node ? MEMBER_OF(node, by_id) : NULL;
}

GroupMember *group_member_find(const Group *group, Slice member_id)
{
    GroupMember *member = group_member_any(group, member_id);
    return member && !member->pending ? member : NULL;
}

GroupMember *group_member_of_instance(const Group *group, Slice instance_id)
{
    TableNode *node = slice_is_null(instance_id) ? NULL : table_find(&group->instances, instance_id);
    return node ? MEMBER_OF(node, by_instance) : NULL;
}

/* Null when memory is short: then the protocol is one that not all members speak. */
static ProtocolCount *protocol_count_of(Group *group, Slice name)
{
    TableNode *node = table_find(&group->protocols, name);
    if (node) {
        return (ProtocolCount *)node;
    }
    ProtocolCount *count = calloc(1, sizeof(ProtocolCount) + name.size);
    if (count) {
        memcpy(count->name, name.data, name.size);
        table_insert(&group->protocols, &count->node, slice_of(count->name, name.size));
    }
    return count;
}

static void protocols_counted(Group *group, const GroupMember *member, bool more)
{
    for (size_t i = 0; i < member->protocol_count; i++) {
        ProtocolCount *count = protocol_count_of(group, member->protocols[i].name);
        if (!count || (!more && count->members == 0)) {
            continue;
        }
        count->members += more ? 1 : (size_t)-1;
        if (count->members == 0) {
            table_remove(&group->protocols, &count->node);
            free(count);
        }
    }
}

bool member_change_protocols(GroupMember *member, const GroupProtocol *protocols, size_t count)
{
    protocols_counted(member->group, member, false);
    bool changed = member_set_protocols(member, protocols, count);
    protocols_counted(member->group, member, true);
    return changed;
}

static void group_link(Group *group, GroupMember *member)
{
    member->previous = group->last;
    *(group->last ? &group->last->next : &group->first) = member;
    group->last = member;
    table_insert(&group->ids, &member->by_id, member->id);
}

void group_add_pending(Group *group, GroupMember *member)
{
    member->pending = true;
    group_link(group, member);
    group->pending_count++;
}

void group_add(Group *group, GroupMember *member)
{
    group_link(group, member);
    if (!slice_is_null(member->instance_id)) {
        table_insert(&group->instances, &member->by_instance, member->instance_id);
    }
    group->member_count++;
    group->groups->counts.members++;
    protocols_counted(group, member, true);
    if (!group->leader) {
        group->leader = member;
    }
}

static GroupMember *group_first_member(const Group *group)
{
    GroupMember *member = group->first;
    while (member && member->pending) {
        member = member->next;
    }
    return member;
}

static void group_uncount(Group *group, GroupMember *member)
{
    if (member->pending) {
        group->pending_count--;
        return;
    }
    group->member_count--;
    group->groups->counts.members--;
    protocols_counted(group, member, false);
    member_mark_joined(member, false);
    member_mark_sync_due(member, false);
    if (!slice_is_null(member->instance_id)) {
        table_remove(&group->instances, &member->by_instance);
    }
}

void group_remove(Group *group, GroupMember *member)
{
    *(member->previous ? &member->previous->next : &group->first) = member->next;
    *(member->next ? &member->next->previous : &group->last) = member->previous;
    table_remove(&group->ids, &member->by_id);
    group_uncount(group, member);
    if (group->leader == member) {
        group->leader = group_first_member(group);
    }
    member_free(member);
}

KafkaError group_validate(const Group *group, Slice member_id, Slice instance_id)
{
    if (!slice_is_null(instance_id)) {
        const GroupMember *known = group_member_of_instance(group, instance_id);
        if (!known) {
            return KAFKA_ERROR_UNKNOWN_MEMBER_ID;
        }
        if (!slice_equals(known->id, member_id)) {
            return KAFKA_ERROR_FENCED_INSTANCE_ID;
        }
    }
    return group_member_find(group, member_id) ? KAFKA_ERROR_NONE : KAFKA_ERROR_UNKNOWN_MEMBER_ID;
}

bool group_speaks(const Group *group, Slice protocol_type, const GroupProtocol *protocols, size_t count)
{
    if (group->state == GROUP_EMPTY) {
        return protocol_type.size > 0 && count > 0;
    }
    if (!slice_equals(group_protocol_type(group), protocol_type)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const TableNode *node = table_find(&group->protocols, protocols[i].name);
        size_t members = node ? ((const ProtocolCount *)node)->members : 0;
        if (members == group->member_count) {
            return true;
        }
    }
    return false;
}

/* The first protocol of a member's that all speak. */
static ProtocolCount *member_vote(const Group *group, const GroupMember *member)
{
    for (size_t i = 0; i < member->protocol_count; i++) {
        ProtocolCount *count = (ProtocolCount *)table_find(&group->protocols, member->protocols[i].name);
        if (count && count->members == group->member_count) {
            return count;
        }
    }
    return NULL;
}

/* The protocol that most prefer among those that all speak; null when there is none. */
Slice group_vote(Group *group)
{
    ProtocolCount *chosen = NULL;
    for (const GroupMember *member = group_first_member(group); member; member = group_next(member)) {
        ProtocolCount *vote = member_vote(group, member);
        if (vote) {
            vote->votes = 0;
        }
    }
    for (const GroupMember *member = group_first_member(group); member; member = group_next(member)) {
        ProtocolCount *vote = member_vote(group, member);
        if (vote && (++vote->votes > (chosen ? chosen->votes : 0))) {
            chosen = vote;
        }
    }
    return chosen ? chosen->node.key : SLICE_NULL;
}

static bool text_replace(uint8_t **text, size_t *size, Slice with)
{
    uint8_t *copy = slice_is_null(with) ? NULL : malloc(with.size + 1);
    if (!slice_is_null(with)) {
        if (!copy) {
            return false;
        }
        if (with.size > 0) {
            memcpy(copy, with.data, with.size);
        }
    }
    free(*text);
    *text = copy;
    *size = with.size;
    return true;
}

bool group_set_protocol_type(Group *group, Slice type)
{
    return text_replace(&group->protocol_type, &group->protocol_type_size, type);
}

bool group_set_protocol_name(Group *group, Slice name)
{
    return text_replace(&group->protocol_name, &group->protocol_name_size, name);
}

Slice group_protocol_type(const Group *group)
{
    return slice_of(group->protocol_type, group->protocol_type_size);
}

Slice group_protocol_name(const Group *group)
{
    return slice_of(group->protocol_name, group->protocol_name_size);
}

Slice group_leader_id(const Group *group)
{
    return group->leader ? group->leader->id : SLICE_NULL;
}

size_t group_member_count(const Group *group)
{
    return group->member_count;
}

const GroupMember *group_first(const Group *group)
{
    return group_first_member(group);
}

const GroupMember *group_next(const GroupMember *member)
{
    do {
        member = member->next;
    } while (member && member->pending);
    return member;
}

GroupStoredMember group_member_stored(const GroupMember *member)
{
    return (GroupStoredMember){
        .member_id = member->id,
        .instance_id = member->instance_id,
        .client_id = member->client_id,
        .client_host = member->client_host,
        .session_timeout_ms = member->session_timeout_ms,
        .rebalance_timeout_ms = member->rebalance_timeout_ms,
        .protocols = member->protocols,
        .protocol_count = member->protocol_count,
        .assignment = member_assignment(member),
    };
}

Slice group_member_metadata(const GroupMember *member)
{
    Slice name = group_protocol_name(member->group);
    for (size_t i = 0; i < member->protocol_count; i++) {
        if (slice_equals(member->protocols[i].name, name)) {
            return member->protocols[i].metadata;
        }
    }
    return SLICE_NULL;
}
