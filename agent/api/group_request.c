/* group_request.c: a classic member's request, from its handler to the reply, which is made when the
 * coordinator or the brain answers and leaves when the coordinator has settled. */
#include "agent/api/group_request.h"

#include "agent/utf8.h"

static void group_reply_send(GroupReply *reply)
{
    GroupRequest *state = REQUEST_OF(reply, reply);
    kafka_request_reply(state->request, &state->response);
}

void group_request_end(GroupRequest *state)
{
    state->waiting = false;
    state->request->on_abandon = NULL;
    group_service_reply(state->service, &state->reply);
}

/* The client is gone while the coordinator has its request. */
static void group_request_abandoned(KafkaRequest *request)
{
    GroupRequest *state = request->state;
    GroupService *service = state->service;
    if (!state->waiting) {
        return; /* it is being loaded, and finished after that */
    }
    group_abandon(&state->wait);
    kafka_request_finish_silently(request);
    group_service_settle(service);
}

GroupRequest *group_request_new(KafkaRequest *request, const KafkaStruct *response,
                                void (*refuse)(GroupRequest *state, KafkaError error))
{
    GroupRequest *state = arena_allocate(&request->arena, sizeof(GroupRequest));
    if (!state) {
        kafka_request_disconnect(request, "memory is short");
        return NULL;
    }
    state->request = request;
    state->service = api_agent(request)->groups;
    state->reply.send = group_reply_send;
    state->refuse = refuse;
    request->state = state;
    kafka_defaults(response, &state->response);
    return state;
}

void group_request_begin(GroupRequest *state, Slice name, bool create, KafkaError error,
                         void (*opened)(GroupOpening *opening, GroupOpened outcome, Group *group,
                                        KafkaError error))
{
    GroupService *service = state->service;
    KafkaError lives = group_service_check(service);
    if (lives != KAFKA_ERROR_NONE) {
        state->refuse(state, lives);
    } else if (name.size == 0 || !utf8_is_text(name)) {
        state->refuse(state, KAFKA_ERROR_INVALID_GROUP_ID);
    } else if (error != KAFKA_ERROR_NONE) {
        state->refuse(state, error);
    } else {
        state->opening.opened = opened;
        groups_open(group_service_groups(service), name, create, &state->opening);
    }
    group_service_settle(service);
}

bool group_request_is_over(GroupRequest *state)
{
    if (state->request->abandoned) {
        kafka_request_finish_silently(state->request);
        return true;
    }
    return false;
}

Slice group_copy(GroupRequest *state, Slice text)
{
    Slice copy = slice_is_null(text) ? SLICE_NULL : slice_of("", 0);
    (void)arena_copy(&state->request->arena, text, &copy);
    return copy;
}

void group_request_waits(GroupRequest *state)
{
    state->waiting = true;
    state->request->on_abandon = group_request_abandoned;
}

Slice group_request_client_id(const GroupRequest *state)
{
    Slice client_id = state->request->client_id;
    return utf8_is_text(client_id) ? client_id : slice_of("", 0);
}
