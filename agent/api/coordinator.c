/* coordinator.c: FindCoordinator: the brain says which agent coordinates a group. There are no transactions
 * yet. */
#include "agent/api/api.h"
#include "agent/api/rack.h"
#include "agent/brain/brain.h"
#include "agent/utf8.h"

enum { KEY_TYPE_GROUP = 0, KEY_TYPE_TRANSACTION = 1, KEYS_OLDEST = 4, KEYS_MAX = 10 * 1000 };

static const char no_transactions[] =
    "transactions are not supported yet; leave transactional.id out of the producer's settings";
static const char no_such_type[] = "this key type is not supported";
static const char no_agent[] = "no agent is alive to coordinate the group";
static const char too_many[] = "this many groups are not looked for in one request";
static const char bad_group[] = "a group's name is UTF-8 text and not empty";

static const BrainStatement find_statement = {
    "find_coordinators",
    "SELECT agent_id, kafka_host, kafka_port FROM sh_find_coordinators($1, $2)",
    2,
    { BRAIN_TEXTS, BRAIN_TEXT }
};

typedef struct CoordinatorState {
    KafkaRequest *request;
    KafkaFindCoordinatorResponse response;
    Slice *keys;
    int32_t count;
} CoordinatorState;

static void coordinator_refuse(KafkaFindCoordinatorResponseCoordinator *out, KafkaError error,
                               const char *message)
{
    out->node_id = -1;
    out->port = -1;
    out->error_code = (int16_t)error;
    out->error_message = slice_of_text(message);
}

static void coordinator_reply(CoordinatorState *state)
{
    KafkaFindCoordinatorResponse *response = &state->response;
    if (state->request->version < KEYS_OLDEST) {
        const KafkaFindCoordinatorResponseCoordinator *only = &response->coordinators.items[0];
        response->error_code = only->error_code;
        response->error_message = only->error_message;
        response->node_id = only->node_id;
        response->host = only->host;
        response->port = only->port;
        response->coordinators.count = 0;
    }
    kafka_request_reply(state->request, response);
}

static void coordinators_found(const BrainResult *result, void *argument)
{
    CoordinatorState *state = argument;
    bool found = status_is_ok(&result->status) && brain_row_count(result) == state->count;
    for (int32_t i = 0; i < state->count; i++) {
        KafkaFindCoordinatorResponseCoordinator *out = &state->response.coordinators.items[i];
        if (state->keys[i].size == 0) {
            coordinator_refuse(out, KAFKA_ERROR_INVALID_GROUP_ID, bad_group);
        } else if (!found || brain_is_null(result, i, 0)) {
            coordinator_refuse(out, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE, no_agent);
        } else {
            out->node_id = brain_int4(result, i, 0);
            out->host = brain_text(result, i, 1);
            out->port = brain_int4(result, i, 2);
        }
    }
    coordinator_reply(state);
}

/* Keys that PostgreSQL would not take as text are asked for as empty ones. */
static bool coordinator_keys(CoordinatorState *state)
{
    KafkaRequest *request = state->request;
    const KafkaFindCoordinatorRequest *asked = request->message;
    bool many = request->version >= KEYS_OLDEST;
    state->count = !many ? 1 : asked->coordinator_keys.count > 0 ? asked->coordinator_keys.count : 0;
    state->keys = arena_allocate_array(&request->arena, (size_t)state->count, sizeof(Slice));
    state->response.coordinators.items =
        kafka_items_new(&request->arena, &KAFKA_FIND_COORDINATOR_RESPONSE_COORDINATOR, (size_t)state->count);
    if (!state->keys || !state->response.coordinators.items) {
        return false;
    }
    state->response.coordinators.count = state->count;
    for (int32_t i = 0; i < state->count; i++) {
        Slice key = many ? asked->coordinator_keys.items[i] : asked->key;
        state->response.coordinators.items[i].key = key;
        state->keys[i] = utf8_is_text(key) ? key : slice_of("", 0);
    }
    return true;
}

static void coordinator_refuse_all(CoordinatorState *state, KafkaError error, const char *message)
{
    for (int32_t i = 0; i < state->count; i++) {
        coordinator_refuse(&state->response.coordinators.items[i], error, message);
    }
    coordinator_reply(state);
}

void find_coordinator_handle(KafkaRequest *request)
{
    const KafkaFindCoordinatorRequest *asked = request->message;
    CoordinatorState *state = arena_allocate(&request->arena, sizeof(CoordinatorState));
    if (state) {
        state->request = request;
        kafka_defaults(&KAFKA_FIND_COORDINATOR_RESPONSE.root, &state->response);
    }
    if (!state || !coordinator_keys(state)) {
        kafka_request_disconnect(request, "memory is short");
    } else if (asked->key_type == KEY_TYPE_TRANSACTION) {
        coordinator_refuse_all(state, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE, no_transactions);
    } else if (asked->key_type != KEY_TYPE_GROUP) {
        coordinator_refuse_all(state, KAFKA_ERROR_INVALID_REQUEST, no_such_type);
    } else if (state->count > KEYS_MAX) {
        coordinator_refuse_all(state, KAFKA_ERROR_INVALID_REQUEST, too_many);
    } else if (state->count == 0) {
        coordinator_reply(state);
    } else {
        BrainParameters parameters;
        brain_parameters_init(&parameters);
        Slice zone = rack_of_client(request->client_id);
        brain_put_texts(&parameters, state->keys, (size_t)state->count);
        brain_put_text(&parameters, utf8_is_text(zone) ? zone : SLICE_NULL);
        brain_send(api_agent(request)->brain, BRAIN_READ,
                   &(BrainQuery){ .statement = &find_statement, .parameters = &parameters },
                   coordinators_found, state);
    }
}
