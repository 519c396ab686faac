/* log_dirs.c: DescribeLogDirs: there is one directory, the object store, and in it what this agent leads, so
 * that the answers of all agents together have every partition once. */
#include <stdlib.h>

#include "agent/api/api.h"
#include "agent/brain/brain.h"
#include "agent/jobs/lease.h"
#include "common/store/store.h"

static const BrainStatement sizes_statement = {
    "partition_sizes",
    "SELECT topic_id, topic, partition, leader, bytes FROM sh_partition_sizes($1)",
    1,
    { BRAIN_TEXTS }
};

typedef struct LogDirsState {
    KafkaRequest *request;
    KafkaDescribeLogDirsResponse response;
    int64_t *wanted; /* sorted keys of partitions; NULL: all */
    size_t wanted_count;
} LogDirsState;

static int64_t partition_key(int32_t topic_id, int32_t partition)
{
    return (int64_t)topic_id << 32 | (uint32_t)partition;
}

static int key_compare(const void *left, const void *right)
{
    int64_t a = *(const int64_t *)left;
    int64_t b = *(const int64_t *)right;
    return (a > b) - (a < b);
}

static bool row_is_wanted(const LogDirsState *state, const BrainResult *result, int row)
{
    int64_t key = partition_key(brain_int4(result, row, 0), brain_int4(result, row, 2));
    return brain_int4(result, row, 3) == lease_agent_id(api_agent(state->request)->lease) &&
           (!state->wanted ||
            bsearch(&key, state->wanted, state->wanted_count, sizeof(int64_t), key_compare) != NULL);
}

/* Rows come sorted by topic: those from row on that are of one topic. Returns the row after them. */
static int log_dirs_add_topic(LogDirsState *state, const BrainResult *result, int row,
                              KafkaDescribeLogDirsResponseResult *dir)
{
    int32_t topic_id = brain_int4(result, row, 0);
    int end = row;
    int32_t count = 0;
    for (; end < brain_row_count(result) && brain_int4(result, end, 0) == topic_id; end++) {
        count += row_is_wanted(state, result, end);
    }
    if (count == 0) {
        return end;
    }
    KafkaDescribeLogDirsResponseTopic *out = &dir->topics.items[dir->topics.count++];
    out->name = api_copy(state->request, brain_text(result, row, 1));
    out->partitions.items =
        kafka_items_new(&state->request->arena, &KAFKA_DESCRIBE_LOG_DIRS_RESPONSE_PARTITION, (size_t)count);
    for (; out->partitions.items && row < end; row++) {
        if (row_is_wanted(state, result, row)) {
            KafkaDescribeLogDirsResponsePartition *partition =
                &out->partitions.items[out->partitions.count++];
            partition->partition_index = brain_int4(result, row, 2);
            partition->partition_size = brain_int8(result, row, 4);
        }
    }
    return end;
}

static void log_dirs_told(const BrainResult *result, void *argument)
{
    LogDirsState *state = argument;
    int rows = status_is_ok(&result->status) ? brain_row_count(result) : 0;
    KafkaDescribeLogDirsResponseResult *dir = state->response.results.items;
    dir->log_dir = api_copy(state->request, slice_of_text(store_describe(api_agent(state->request)->store)));
    dir->error_code =
        (int16_t)(status_is_ok(&result->status) ? KAFKA_ERROR_NONE : KAFKA_ERROR_KAFKA_STORAGE_ERROR);
    size_t topics = 0;
    for (int row = 0; row < rows; row++) {
        topics += row == 0 || brain_int4(result, row, 0) != brain_int4(result, row - 1, 0);
    }
    dir->topics.items =
        kafka_items_new(&state->request->arena, &KAFKA_DESCRIBE_LOG_DIRS_RESPONSE_TOPIC, topics);
    for (int row = 0; dir->topics.items && row < rows;) {
        row = log_dirs_add_topic(state, result, row, dir);
    }
    kafka_request_reply(state->request, &state->response);
}

/* The partitions asked for, as sorted keys, and the names of their topics. */
static bool log_dirs_want(LogDirsState *state, Slice *names)
{
    const KafkaDescribeLogDirsRequest *asked = state->request->message;
    size_t count = 0;
    for (int32_t i = 0; i < asked->topics.count; i++) {
        names[i] = asked->topics.items[i].topic;
        count +=
            asked->topics.items[i].partitions.count > 0 ? (size_t)asked->topics.items[i].partitions.count : 0;
    }
    state->wanted = arena_allocate_array(&state->request->arena, count, sizeof(int64_t));
    for (int32_t i = 0; state->wanted && i < asked->topics.count; i++) {
        const Topic *topic = catalog_topic(api_agent(state->request)->catalog, names[i]);
        for (int32_t j = 0; topic && j < asked->topics.items[i].partitions.count; j++) {
            state->wanted[state->wanted_count++] =
                partition_key(topic->topic_id, asked->topics.items[i].partitions.items[j]);
        }
    }
    if (state->wanted) {
        qsort(state->wanted, state->wanted_count, sizeof(int64_t), key_compare);
    }
    return state->wanted != NULL;
}

void describe_log_dirs_handle(KafkaRequest *request)
{
    const KafkaDescribeLogDirsRequest *asked = request->message;
    bool all = asked->topics.count < 0;
    LogDirsState *state = arena_allocate(&request->arena, sizeof(LogDirsState));
    Slice *names =
        arena_allocate_array(&request->arena, all ? 0 : (size_t)asked->topics.count, sizeof(Slice));
    bool room = state && names;
    if (room) {
        *state = (LogDirsState){ .request = request };
        kafka_defaults(&KAFKA_DESCRIBE_LOG_DIRS_RESPONSE.root, &state->response);
        state->response.results.items =
            kafka_items_new(&request->arena, &KAFKA_DESCRIBE_LOG_DIRS_RESPONSE_RESULT, 1);
        state->response.results.count = 1;
        room = state->response.results.items && (all || log_dirs_want(state, names));
    }
    if (!room) {
        kafka_request_disconnect(request, "the request has too many partitions to be handled");
        return;
    }
    BrainParameters parameters;
    brain_parameters_init(&parameters);
    if (all) {
        brain_put_texts(&parameters, NULL, 0);
    } else {
        brain_put_texts(&parameters, names, (size_t)asked->topics.count);
    }
    brain_send(api_agent(request)->brain, BRAIN_READ,
               &(BrainQuery){ .statement = &sizes_statement, .parameters = &parameters }, log_dirs_told,
               state);
}
