/* group_live.c: groups as their coordinator has them in memory, for those who administer them. */
#include "agent/api/group_live.h"

#include "agent/group/service.h"

static Group *live_group(const KafkaRequest *request, Slice name)
{
    GroupService *service = api_agent(request)->groups;
    if (!service || group_service_check(service) != KAFKA_ERROR_NONE) {
        return NULL;
    }
    Group *group = groups_find(group_service_groups(service), name);
    return group && group_is_loaded(group) ? group : NULL;
}

static Slice live_state_name(GroupState state)
{
    static const char *const names[GROUP_STATE_COUNT] = {
        [GROUP_EMPTY] = "Empty",
        [GROUP_PREPARING_REBALANCE] = "PreparingRebalance",
        [GROUP_COMPLETING_REBALANCE] = "CompletingRebalance",
        [GROUP_STABLE] = "Stable",
        [GROUP_DEAD] = "Dead",
    };
    return slice_of_text(names[state]);
}

Slice group_live_state(const KafkaRequest *request, Slice name, Slice stored)
{
    const Group *group = live_group(request, name);
    return group ? live_state_name(group_state(group)) : stored;
}

bool group_live_has_members(const KafkaRequest *request, Slice name)
{
    const Group *group = live_group(request, name);
    return group && group_member_count(group) > 0;
}

static bool live_member(Arena *arena, const GroupMember *member, KafkaDescribeGroupsResponseMember *out)
{
    GroupStoredMember known = group_member_stored(member);
    return arena_copy(arena, known.member_id, &out->member_id) &&
           arena_copy(arena, known.instance_id, &out->group_instance_id) &&
           arena_copy(arena, known.client_id, &out->client_id) &&
           arena_copy(arena, known.client_host, &out->client_host);
}

bool group_live_describe(KafkaRequest *request, Slice name, KafkaDescribeGroupsResponseGroup *out)
{
    const Group *group = out->error_code == KAFKA_ERROR_NONE ? live_group(request, name) : NULL;
    if (!group) {
        return true;
    }
    out->group_state = live_state_name(group_state(group));
    if (group_state(group) == GROUP_STABLE) {
        return true; /* as the brain said */
    }
    out->members.count = 0;
    out->members.items =
        kafka_items_new(&request->arena, &KAFKA_DESCRIBE_GROUPS_RESPONSE_MEMBER, group_member_count(group));
    bool fits =
        out->members.items && arena_copy(&request->arena, group_protocol_type(group), &out->protocol_type);
    for (const GroupMember *member = group_first(group); member && fits; member = group_next(member)) {
        fits = live_member(&request->arena, member, &out->members.items[out->members.count++]);
    }
    return fits;
}
