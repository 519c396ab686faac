/* produce.c: Produce. Each partition's batch is checked and given to the log; the reply leaves when all of
 * them have their answer. A reply means durable, so that acks=1 is acks=all here. Kafka's rules: one batch of
 * format 2 per partition since version 3; versions 0 to 2 are advertised, because librdkafka looks for them,
 * and refused. */
#include <stdlib.h>

#include "agent/api/api.h"
#include "agent/clock.h"
#include "agent/jobs/hand_over.h"
#include "agent/jobs/lease.h"
#include "agent/journal.h"
#include "agent/kafka/message.h"
#include "agent/log/log.h"
#include "agent/log/recompress.h"
#include "agent/metrics.h"

enum {
    PRODUCE_OLDEST = 3,
    PRODUCE_ZSTD_OLDEST = 7,
    PRODUCE_RECORD_ERRORS_OLDEST = 8,
    PRODUCE_LEADER_OLDEST = 10, /* the answer may name the leader */
    PRODUCE_TIMEOUT_MIN_MS = 100,
    PRODUCE_TIMEOUT_MAX_MS = 10 * 60 * 1000,
    DECOMPRESSED_TIMES_MAX = 64, /* of max.message.bytes */
};

typedef struct ProduceTask {
    KafkaRequest *request;
    KafkaProduceResponse response;
    size_t waiting; /* batches in the log, plus one while the request is gone through */
    bool failed;
    bool moved; /* a partition has another leader: the reply names it */
} ProduceTask;

/* A batch in the log: where its answer goes. */
typedef struct ProduceBatch {
    ProduceTask *task;
    KafkaProduceResponsePartition *answer;
    Partition *partition; /* alive: the log holds its topic until the batch is final */
    int64_t append_time_ms;
    size_t recompressed; /* bytes of memory that are to be given back */
} ProduceBatch;

static void produce_name_leaders(ProduceTask *task)
{
    size_t count;
    const AgentNode *agents = catalog_agents(api_agent(task->request)->catalog, &count);
    KafkaProduceResponseNodeEndpoint *nodes =
        kafka_items_new(&task->request->arena, &KAFKA_PRODUCE_RESPONSE_NODE_ENDPOINT, count);
    for (size_t i = 0; nodes && i < count; i++) {
        nodes[i].node_id = agents[i].agent_id;
        nodes[i].host = slice_of_text(agents[i].host);
        nodes[i].port = agents[i].port;
    }
    task->response.node_endpoints.items = nodes;
    task->response.node_endpoints.count = nodes ? (int32_t)count : 0;
}

static void produce_release(ProduceTask *task)
{
    if (--task->waiting > 0) {
        return;
    }
    const KafkaProduceRequest *asked = task->request->message;
    if (asked->acks != 0) {
        if (task->moved) {
            produce_name_leaders(task);
        }
        kafka_request_reply(task->request, &task->response);
    } else if (task->failed) {
        kafka_request_disconnect(task->request, "a batch sent with acks=0 was refused");
    } else {
        kafka_request_finish_silently(task->request);
    }
}

static void produce_refuse(ProduceTask *task, KafkaProduceResponsePartition *answer, KafkaError error,
                           const char *why)
{
    task->failed = true;
    answer->error_code = (int16_t)error;
    answer->base_offset = OFFSET_UNKNOWN;
    if (why) {
        char *copy = arena_copy_text(&task->request->arena, slice_of_text(why));
        answer->error_message = slice_of_text(copy);
    }
}

/* The batch needs no memory of its own any more. */
static void produce_settle(ProduceBatch *batch)
{
    if (batch->recompressed > 0) {
        recompress_settle(batch->recompressed);
        batch->recompressed = 0;
    }
}

static void produce_answered(void *argument, KafkaError error, int64_t base_offset)
{
    ProduceBatch *batch = argument;
    KafkaProduceResponsePartition *answer = batch->answer;
    produce_settle(batch);
    if (error != KAFKA_ERROR_NONE) {
        produce_refuse(batch->task, answer, error, kafka_error_text((int16_t)error));
    } else {
        answer->error_code = KAFKA_ERROR_NONE;
        answer->base_offset = base_offset;
        answer->log_append_time_ms = batch->append_time_ms;
        answer->log_start_offset = batch->partition->log_start_offset;
    }
    produce_release(batch->task);
}

static BatchLimits produce_limits(const KafkaRequest *request, const TopicConfig *config, int64_t now_ms)
{
    return (BatchLimits){
        .batch_bytes_max = (size_t)config->max_message_bytes,
        .decompressed_bytes_max = (size_t)config->max_message_bytes * DECOMPRESSED_TIMES_MAX,
        .now_ms = now_ms,
        .timestamp_before_max_ms = config->log_append_time ? INT64_MAX : config->timestamp_before_max_ms,
        .timestamp_after_max_ms = config->log_append_time ? INT64_MAX : config->timestamp_after_max_ms,
        .keys_required = config->compacted,
        .zstd_refused = request->version < PRODUCE_ZSTD_OLDEST,
    };
}

/* Exactly one batch, valid in every way that can be seen. Corrects the header's greatest timestamp. */
static BatchError produce_check(const KafkaRequest *request, const TopicConfig *config, Slice records,
                                BatchHeader *header, BatchFacts *facts, int64_t now_ms)
{
    BatchLimits limits = produce_limits(request, config, now_ms);
    if (records.size == 0) {
        return batch_error(BATCH_RECORD_INVALID, "a partition was sent without a record batch");
    }
    BatchError error = batch_header_read(records, header);
    if (error.code != BATCH_OK) {
        return error;
    }
    if (batch_size(header) != records.size) {
        return batch_error(BATCH_RECORD_INVALID, "a partition was sent with more than one record batch");
    }
    if (batch_is_transactional(header)) {
        return batch_error(BATCH_RECORD_INVALID, "transactions are not supported");
    }
    error = batch_check(records, header, &limits, facts);
    if (error.code == BATCH_OK && batch_codec(header) != 0 &&
        api_agent(request)->settings.validate_compressed) {
        error = batch_check_compressed(records, header, &limits, facts);
    }
    if (error.code == BATCH_OK && facts->walked && facts->max_timestamp != header->max_timestamp) {
        batch_set_max_timestamp((uint8_t *)(uintptr_t)records.data, records.size, facts->max_timestamp);
        header->max_timestamp = facts->max_timestamp;
    }
    return error;
}

/* The records of a batch that are at fault; without memory for them the batch is refused as a whole. */
typedef struct ProduceFaults {
    KafkaProduceResponseRecordError *items;
    int32_t count;
    bool timestamps;
} ProduceFaults;

static void produce_count_fault(void *argument, int32_t index, const BatchError *error)
{
    ProduceFaults *faults = argument;
    (void)index;
    faults->timestamps |= error->code == BATCH_TIMESTAMP_INVALID;
    faults->count++;
}

static void produce_note_fault(void *argument, int32_t index, const BatchError *error)
{
    ProduceFaults *faults = argument;
    faults->items[faults->count++] = (KafkaProduceResponseRecordError){
        .batch_index = index,
        .batch_index_error_message = slice_of_text(kafka_error_text(error->code)),
    };
}

/* KIP-467: a client gives up on these and sends the others of the batch again. As in Kafka, a timestamp at
 * fault is what the whole is said to suffer from. */
static void produce_name_faults(ProduceTask *task, KafkaProduceResponsePartition *answer,
                                const TopicConfig *config, Slice records, const BatchHeader *header,
                                int64_t now_ms)
{
    BatchLimits limits = produce_limits(task->request, config, now_ms);
    ProduceFaults faults = { 0 };
    (void)batch_find_refused(records, header, &limits, produce_count_fault, &faults);
    faults.items =
        kafka_items_new(&task->request->arena, &KAFKA_PRODUCE_RESPONSE_RECORD_ERROR, (size_t)faults.count);
    if (!faults.items) {
        return;
    }
    faults.count = 0;
    (void)batch_find_refused(records, header, &limits, produce_note_fault, &faults);
    answer->error_code = faults.timestamps ? BATCH_TIMESTAMP_INVALID : answer->error_code;
    answer->record_errors.items = faults.items;
    answer->record_errors.count = faults.count;
}

static void produce_not_leader(ProduceTask *task, KafkaProduceResponsePartition *answer,
                               const Partition *partition)
{
    produce_refuse(task, answer, KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER, NULL);
    bool unknown =
        partition->leader == lease_agent_id(api_agent(task->request)->lease); /* its lease lapsed */
    if (task->request->version < PRODUCE_LEADER_OLDEST || unknown) {
        return;
    }
    answer->current_leader.leader_id = partition->leader;
    answer->current_leader.leader_epoch = partition->epoch;
    task->moved = true;
}

/* Of the batches that a producer has under way, the next may arrive when this agent leads the partition. */
static void produce_hold_up(const ProduceTask *task, const Partition *partition, Slice records)
{
    BatchHeader header;
    Log *log = api_agent(task->request)->log;
    if (log && batch_header_read(records, &header).code == BATCH_OK) {
        log_refused_elsewhere(log, partition, &header, time_ms());
    }
}

/* A batch as it is to be kept, in a block that keeps it alive. */
typedef struct ProduceBytes {
    Block *frame;
    uint8_t *bytes;
    size_t size;
} ProduceBytes;

/* False: refused. */
static bool produce_append(ProduceBatch *batch, const ProduceBytes *kept)
{
    ProduceTask *task = batch->task;
    Log *log = api_agent(task->request)->log;
    const KafkaProduceRequest *asked = task->request->message;
    int64_t timeout_ms = asked->timeout_ms < PRODUCE_TIMEOUT_MIN_MS   ? PRODUCE_TIMEOUT_MIN_MS
                         : asked->timeout_ms > PRODUCE_TIMEOUT_MAX_MS ? PRODUCE_TIMEOUT_MAX_MS
                                                                      : asked->timeout_ms;
    int64_t now_ms = time_ms();
    BatchHeader header;
    if (batch->append_time_ms >= 0) {
        batch_set_append_time(kept->bytes, kept->size, batch->append_time_ms);
    }
    (void)batch_header_read(slice_of(kept->bytes, kept->size), &header).code; /* it was checked */
    KafkaError early = log_check_order(log, batch->partition, &header, now_ms);
    if (early != KAFKA_ERROR_NONE) {
        produce_refuse(task, batch->answer, early,
                       "an earlier batch of this producer failed; send that one first");
        return false;
    }
    LogAppend append = {
        .partition = batch->partition,
        .frame = kept->frame,
        .bytes = kept->bytes,
        .size = (int32_t)kept->size,
        .header = header,
        .deadline_ms = now_ms + timeout_ms,
    };
    if (!log_append(log, &append, now_ms, produce_answered, batch)) {
        produce_refuse(task, batch->answer, KAFKA_ERROR_REQUEST_TIMED_OUT, "memory is short");
        return false;
    }
    return true;
}

/* The batch has its topic's codec; meanwhile much may have changed. */
static void produce_recompressed(void *argument, const BatchError *error, Block *frame, uint8_t *bytes,
                                 size_t size)
{
    ProduceBatch *batch = argument;
    ProduceTask *task = batch->task;
    const Agent *agent = api_agent(task->request);
    batch->recompressed = error->code == BATCH_OK && frame != task->request->frame ? size : 0;
    bool appended = false;
    if (error->code != BATCH_OK) {
        produce_refuse(task, batch->answer, (KafkaError)error->code, error->message);
    } else if (!agent->kafka) {
        produce_refuse(task, batch->answer, KAFKA_ERROR_REQUEST_TIMED_OUT, "the agent is stopping");
    } else if (batch->partition->topic->deleted) {
        produce_refuse(task, batch->answer, KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION, NULL);
    } else if (!lease_holds(agent->lease, batch->partition)) {
        produce_not_leader(task, batch->answer, batch->partition);
    } else {
        appended = produce_append(batch, &(ProduceBytes){ frame, bytes, size });
    }
    if (!appended) {
        produce_settle(batch);
        produce_release(task);
    }
}

/* False: memory is short. */
static bool produce_recompress(ProduceBatch *batch, Slice records, const BatchHeader *header,
                               const BatchFacts *facts)
{
    KafkaRequest *request = batch->task->request;
    const TopicConfig *config = &batch->partition->topic->config;
    RecompressRequest recompression = {
        .partition = batch->partition,
        .frame = request->frame,
        .batch = records,
        .header = *header,
        .how = { .codec = config->codec,
                 .level = config->codec_level,
                 .batch_bytes_max = (size_t)config->max_message_bytes,
                 .decompressed_bytes_max = (size_t)config->max_message_bytes * DECOMPRESSED_TIMES_MAX },
        .records_bytes = facts->records_bytes,
        .bytes_max = (size_t)api_agent(request)->settings.produce_bytes_max,
    };
    return recompress(api_agent(request)->loop, &recompression, produce_recompressed, batch);
}

/* A batch that passed every check, to its partition. */
static void produce_take(ProduceTask *task, KafkaProduceResponsePartition *answer, Partition *partition,
                         Slice records, const BatchHeader *header, const BatchFacts *facts, int64_t now_ms)
{
    ProduceBatch *batch = arena_allocate(&task->request->arena, sizeof(ProduceBatch));
    if (!batch) {
        produce_refuse(task, answer, KAFKA_ERROR_REQUEST_TIMED_OUT, "memory is short");
        return;
    }
    int64_t append_time_ms = partition->topic->config.log_append_time ? now_ms : -1;
    *batch = (ProduceBatch){ task, answer, partition, append_time_ms, 0 };
    task->waiting++;
    if (recompress_is_due(partition, header)) {
        if (!produce_recompress(batch, records, header, facts)) {
            task->waiting--;
            produce_refuse(task, answer, KAFKA_ERROR_REQUEST_TIMED_OUT, "memory is short");
        }
        return;
    }
    uint8_t *bytes = (uint8_t *)(uintptr_t)records.data; /* the frame is ours to write to */
    if (!produce_append(batch, &(ProduceBytes){ task->request->frame, bytes, records.size })) {
        task->waiting--;
    }
}

/* A batch whose partition is changing hands. */
typedef struct ProduceParked {
    Parked parked; /* first: the resuming gets it */
    ProduceTask *task;
    const KafkaProduceRequestPartition *sent;
    KafkaProduceResponsePartition *answer;
} ProduceParked;

static void produce_lead(ProduceTask *task, Partition *partition, const KafkaProduceRequestPartition *sent,
                         KafkaProduceResponsePartition *answer);

static void produce_resume(Parked *parked)
{
    ProduceParked *batch = (ProduceParked *)(void *)parked;
    ProduceTask *task = batch->task;
    if (!api_agent(task->request)->kafka) {
        produce_refuse(task, batch->answer, KAFKA_ERROR_REQUEST_TIMED_OUT, "the agent is stopping");
    } else if (parked->partition->topic->deleted) {
        produce_refuse(task, batch->answer, KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION, NULL);
    } else {
        produce_lead(task, parked->partition, batch->sent, batch->answer);
    }
    produce_release(task);
}

/* False: the partition is not changing hands, or memory is short. */
static bool produce_park(ProduceTask *task, Partition *partition, const KafkaProduceRequestPartition *sent,
                         KafkaProduceResponsePartition *answer)
{
    ProduceParked *batch = arena_allocate(&task->request->arena, sizeof(ProduceParked));
    if (!batch) {
        return false;
    }
    *batch = (ProduceParked){ .task = task, .sent = sent, .answer = answer };
    if (!hand_over_park(api_agent(task->request)->hand_over, &batch->parked, partition, produce_resume)) {
        return false;
    }
    task->waiting++;
    return true;
}

static void produce_partition(ProduceTask *task, Topic *topic, const KafkaProduceRequestPartition *sent,
                              KafkaProduceResponsePartition *answer)
{
    Partition *partition = topic_partition(topic, sent->index);
    if (!partition) {
        produce_refuse(task, answer, KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION, NULL);
    } else if (!produce_park(task, partition, sent, answer)) {
        produce_lead(task, partition, sent, answer);
    }
}

static void produce_lead(ProduceTask *task, Partition *partition, const KafkaProduceRequestPartition *sent,
                         KafkaProduceResponsePartition *answer)
{
    const TopicConfig *config = &partition->topic->config;
    if (!lease_holds(api_agent(task->request)->lease, partition)) {
        produce_not_leader(task, answer, partition);
        produce_hold_up(task, partition, sent->records);
        return;
    }
    BatchHeader header;
    BatchFacts facts = { 0 };
    int64_t now_ms = time_wall_ms();
    BatchError error = produce_check(task->request, config, sent->records, &header, &facts, now_ms);
    if (error.code != BATCH_OK) {
        metric_add(METRIC_PRODUCE_INVALID, 1);
        produce_refuse(task, answer, (KafkaError)error.code, error.message);
        if (facts.records_refused && task->request->version >= PRODUCE_RECORD_ERRORS_OLDEST) {
            produce_name_faults(task, answer, config, sent->records, &header, now_ms);
        }
        return;
    }
    produce_take(task, answer, partition, sent->records, &header, &facts, now_ms);
}

/* What is wrong with the request as a whole. */
static KafkaError produce_check_request(const KafkaRequest *request)
{
    const KafkaProduceRequest *asked = request->message;
    if (request->version < PRODUCE_OLDEST) {
        return KAFKA_ERROR_UNSUPPORTED_VERSION;
    }
    if (asked->acks < -1 || asked->acks > 1) {
        return KAFKA_ERROR_INVALID_REQUIRED_ACKS;
    }
    if (!slice_is_null(asked->transactional_id)) {
        return KAFKA_ERROR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
    }
    return KAFKA_ERROR_NONE;
}

static bool produce_topic(ProduceTask *task, const KafkaProduceRequestTopic *sent,
                          KafkaProduceResponseTopic *answer, KafkaError refused)
{
    KafkaError error;
    Topic *topic = api_topic(task->request, sent->name, &sent->topic_id, &error);
    int32_t count = sent->partition_data.count > 0 ? sent->partition_data.count : 0;
    answer->name = sent->name;
    answer->topic_id = sent->topic_id;
    answer->partition_responses.items =
        kafka_items_new(&task->request->arena, &KAFKA_PRODUCE_RESPONSE_PARTITION, (size_t)count);
    if (!answer->partition_responses.items) {
        return false;
    }
    answer->partition_responses.count = count;
    for (int32_t i = 0; i < count; i++) {
        KafkaProduceResponsePartition *partition = &answer->partition_responses.items[i];
        partition->index = sent->partition_data.items[i].index;
        if (refused != KAFKA_ERROR_NONE || !topic) {
            produce_refuse(task, partition, refused != KAFKA_ERROR_NONE ? refused : error, NULL);
        } else {
            produce_partition(task, topic, &sent->partition_data.items[i], partition);
        }
    }
    return true;
}

void produce_handle(KafkaRequest *request)
{
    const KafkaProduceRequest *asked = request->message;
    ProduceTask *task = arena_allocate(&request->arena, sizeof(ProduceTask));
    int32_t count = asked->topic_data.count > 0 ? asked->topic_data.count : 0;
    KafkaProduceResponseTopic *topics =
        kafka_items_new(&request->arena, &KAFKA_PRODUCE_RESPONSE_TOPIC, (size_t)count);
    if (!task || !topics) {
        kafka_request_disconnect(request, "the request is too large to be handled");
        return;
    }
    *task = (ProduceTask){ .request = request, .waiting = 1 };
    kafka_defaults(&KAFKA_PRODUCE_RESPONSE.root, &task->response);
    task->response.responses.items = topics;
    task->response.responses.count = count;
    KafkaError refused = produce_check_request(request);
    bool enough = true;
    for (int32_t i = 0; enough && i < count; i++) {
        enough = produce_topic(task, &asked->topic_data.items[i], &topics[i], refused);
    }
    if (!enough) {
        journal_seldom(JOURNAL_WARN, "produce", "a request has too many partitions to be handled");
        task->failed = true;
    }
    produce_release(task);
}
