/* codec_wire_test.c: bytes as other implementations send them, written out here by hand, and bytes that
 * nobody should send. */
#include "agent/kafka/message.h"
#include "test/unit/test.h"

enum { ARENA_LIMIT = 1 << 20 };

typedef struct Bench {
    Arena arena;
    Writer out;
} Bench;

static Bench bench_new(void)
{
    Bench bench;
    arena_init(&bench.arena, ARENA_LIMIT);
    writer_init(&bench.out);
    return bench;
}

static void bench_free(Bench *bench)
{
    arena_reset(&bench->arena);
    writer_free(&bench->out);
}

/* Bytes that stay. */
#define BYTES(...)                                                                                           \
    ({                                                                                                       \
        static const uint8_t bytes_[] = { __VA_ARGS__ };                                                     \
        slice_of(bytes_, sizeof(bytes_));                                                                    \
    })

/* Decodes and expects nothing to be left; prints why not. */
static bool decodes(Bench *bench, const KafkaMessage *message, int16_t version, Slice bytes, void *out)
{
    Reader in = reader_of(bytes);
    Status status = kafka_decode(message, version, &in, &bench->arena, out);
    if (!status_is_ok(&status) || reader_left(&in) > 0) {
        printf("# %s, %zu bytes left\n", status.message, reader_left(&in));
    }
    return status_is_ok(&status) && reader_left(&in) == 0;
}

/* Expects a refusal whose message has the words. */
static bool refuses(const KafkaMessage *message, int16_t version, Slice bytes, const char *words)
{
    static uint64_t out[512];
    Bench bench = bench_new();
    Reader in = reader_of(bytes);
    Status status = kafka_decode(message, version, &in, &bench.arena, out);
    bool refused = status.code == STATUS_CORRUPT && strstr(status.message, words);
    if (!refused) {
        printf("# code %d \"%s\", expected \"%s\"\n", status.code, status.message, words);
    }
    bench_free(&bench);
    return refused;
}

static Slice written(Bench *bench)
{
    Slice slices[16];
    size_t count = writer_slice_count(&bench->out) <= 16 ? writer_slices(&bench->out, slices) : 0;
    uint8_t *all = arena_allocate(&bench->arena, writer_size(&bench->out));
    size_t position = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(all + position, slices[i].data, slices[i].size);
        position += slices[i].size;
    }
    return slice_of(all, position);
}

TEST(a_metadata_request_of_version_1_is_read)
{
    Bench bench = bench_new();
    KafkaMetadataRequest request;
    CHECK(
        decodes(&bench, &KAFKA_METADATA_REQUEST, 1, BYTES(0, 0, 0, 2, 0, 1, 'a', 0, 2, 'b', 'c'), &request));
    CHECK_INT(request.topics.count, 2);
    CHECK_BYTES(request.topics.items[0].name, SLICE_LITERAL("a"));
    CHECK_BYTES(request.topics.items[1].name, SLICE_LITERAL("bc"));
    CHECK(request.allow_auto_topic_creation); /* not in version 1: its default */
    CHECK(decodes(&bench, &KAFKA_METADATA_REQUEST, 1, BYTES(0xff, 0xff, 0xff, 0xff), &request));
    CHECK_INT(request.topics.count, -1);
    bench_free(&bench);
}

TEST(a_metadata_request_of_version_12_is_read)
{
    Bench bench = bench_new();
    KafkaMetadataRequest request;
    CHECK(decodes(&bench, &KAFKA_METADATA_REQUEST, 12,
                  BYTES(2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0, 0, 0, 1, 0), &request));
    CHECK_INT(request.topics.count, 1);
    CHECK(slice_is_null(request.topics.items[0].name));
    CHECK_INT(request.topics.items[0].topic_id.bytes[15], 15);
    CHECK(!request.allow_auto_topic_creation);
    CHECK(request.include_topic_authorized_operations);
    bench_free(&bench);
}

TEST(a_produce_request_of_version_3_is_read_and_its_records_are_a_view)
{
    Bench bench = bench_new();
    KafkaProduceRequest request;
    Slice bytes = BYTES(0xff, 0xff, 0xff, 0xff, 0, 0, 0x75, 0x30, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 1, 0, 0, 0,
                        7, 0, 0, 0, 3, 'x', 'y', 'z');
    CHECK(decodes(&bench, &KAFKA_PRODUCE_REQUEST, 3, bytes, &request));
    CHECK(slice_is_null(request.transactional_id));
    CHECK_INT(request.acks, -1);
    CHECK_INT(request.timeout_ms, 30000);
    CHECK_INT(request.topic_data.items[0].partition_data.items[0].index, 7);
    CHECK(request.topic_data.items[0].partition_data.items[0].records.data == bytes.data + bytes.size - 3);
    CHECK_INT(request.topic_data.items[0].partition_data.items[0].records.size, 3);
    bench_free(&bench);
}

TEST(a_produce_request_of_version_0_can_be_read_in_order_to_be_refused)
{
    Bench bench = bench_new();
    KafkaProduceRequest request;
    CHECK(decodes(&bench, &KAFKA_PRODUCE_REQUEST, 0,
                  BYTES(0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0),
                  &request));
    CHECK(slice_is_null(request.transactional_id));
    CHECK_BYTES(request.topic_data.items[0].name, SLICE_LITERAL("t"));
    bench_free(&bench);
}

TEST(a_produce_request_of_version_13_names_topics_by_id)
{
    Bench bench = bench_new();
    KafkaProduceRequest request;
    CHECK(decodes(&bench, &KAFKA_PRODUCE_REQUEST, 13,
                  BYTES(0, 0xff, 0xff, 0, 0, 0, 9, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 0, 0,
                        0, 5, 3, 'h', 'i', 0, 0, 0),
                  &request));
    CHECK_INT(request.topic_data.items[0].topic_id.bytes[0], 1);
    CHECK_INT(request.topic_data.items[0].name.size, 0);
    CHECK(!slice_is_null(request.topic_data.items[0].name));
    CHECK_BYTES(request.topic_data.items[0].partition_data.items[0].records, SLICE_LITERAL("hi"));
    bench_free(&bench);
}

static void fetch_response_fill(KafkaFetchResponse *response, Arena *arena, const Slice *batches)
{
    kafka_defaults(&KAFKA_FETCH_RESPONSE.root, response);
    response->session_id = 3;
    response->responses.count = 1;
    response->responses.items = kafka_items_new(arena, &KAFKA_FETCH_RESPONSE_TOPIC, 1);
    KafkaFetchResponseTopic *topic = &response->responses.items[0];
    topic->topic = SLICE_LITERAL("t");
    topic->partitions.count = 1;
    topic->partitions.items = kafka_items_new(arena, &KAFKA_FETCH_RESPONSE_PARTITION, 1);
    topic->partitions.items[0].high_watermark = 9;
    topic->partitions.items[0].last_stable_offset = 8;
    topic->partitions.items[0].log_start_offset = 1;
    topic->partitions.items[0].records = (KafkaRecords){ .slices = batches, .count = 2 };
}

TEST(a_fetch_response_of_version_12_is_written_and_its_records_are_referred_to)
{
    Bench bench = bench_new();
    KafkaFetchResponse response;
    Slice batches[2] = { SLICE_LITERAL("first"), SLICE_LITERAL("second") };
    fetch_response_fill(&response, &bench.arena, batches);
    response.responses.items[0].partitions.items[0].current_leader =
        (KafkaFetchResponseCurrentLeader){ .leader_id = 2, .leader_epoch = 5 };
    Status status = kafka_encode(&KAFKA_FETCH_RESPONSE, 12, &response, &bench.out);
    CHECK(status_is_ok(&status));
    CHECK_BYTES(written(&bench),
                BYTES(0, 0, 0, 0, 0, 0, 0, 0, 0, 3, 2, 2, 't', 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0,
                      0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 12, 'f', 'i',
                      'r', 's', 't', 's', 'e', 'c', 'o', 'n', 'd', 1, 1, 9, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0));
    CHECK_INT(bench.out.referenced, 11);
    Slice slices[8];
    CHECK_INT(writer_slices(&bench.out, slices), 4);
    CHECK(slices[1].data == batches[0].data);
    CHECK(slices[2].data == batches[1].data);
    bench_free(&bench);
}

TEST(a_fetch_response_of_version_4_drops_what_came_later)
{
    Bench bench = bench_new();
    KafkaFetchResponse response;
    Slice batches[2] = { SLICE_LITERAL("a"), SLICE_LITERAL("b") };
    fetch_response_fill(&response, &bench.arena, batches);
    response.session_id = 0;
    Status status = kafka_encode(&KAFKA_FETCH_RESPONSE, 4, &response, &bench.out);
    CHECK(status_is_ok(&status));
    CHECK_BYTES(written(&bench),
                BYTES(0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9,
                      0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 2, 'a', 'b'));
    bench_free(&bench);
}

TEST(a_value_that_a_version_cannot_carry_fails_with_the_field_named)
{
    Bench bench = bench_new();
    KafkaFetchResponse response;
    kafka_defaults(&KAFKA_FETCH_RESPONSE.root, &response);
    response.session_id = 3;
    Status status = kafka_encode(&KAFKA_FETCH_RESPONSE, 4, &response, &bench.out);
    CHECK_INT(status.code, STATUS_INVALID);
    CHECK_STR(status.message,
              "FetchResponse version 4: FetchResponse session_id: this version has no such field and it may "
              "not be dropped");
    response.session_id = 0;
    response.error_code = 1; /* may be dropped */
    status = kafka_encode(&KAFKA_FETCH_RESPONSE, 4, &response, &bench.out);
    CHECK_INT(status.code, STATUS_OK);
    bench_free(&bench);
}

TEST(null_is_not_written_where_it_is_not_allowed)
{
    Bench bench = bench_new();
    KafkaFindCoordinatorRequest request;
    kafka_defaults(&KAFKA_FIND_COORDINATOR_REQUEST.root, &request);
    request.key = SLICE_NULL;
    Status status = kafka_encode(&KAFKA_FIND_COORDINATOR_REQUEST, 3, &request, &bench.out);
    CHECK_STR(status.message,
              "FindCoordinatorRequest version 3: FindCoordinatorRequest key: null where that is not allowed");
    /* Zeroed by hand and absent from the version: no reason to fail. */
    status = kafka_encode(&KAFKA_FIND_COORDINATOR_REQUEST, 4, &request, &bench.out);
    CHECK(status_is_ok(&status));
    bench_free(&bench);
}

TEST(an_oversized_string_is_not_written)
{
    Bench bench = bench_new();
    KafkaSaslHandshakeRequest request;
    request.mechanism = slice_of(arena_allocate(&bench.arena, 32768), 32767);
    Status status = kafka_encode(&KAFKA_SASL_HANDSHAKE_REQUEST, 1, &request, &bench.out);
    CHECK_INT(status.code, STATUS_OK);
    request.mechanism.size = 32768;
    status = kafka_encode(&KAFKA_SASL_HANDSHAKE_REQUEST, 1, &request, &bench.out);
    CHECK_INT(status.code, STATUS_INVALID);
    bench_free(&bench);
}

TEST(a_nullable_struct_is_a_byte_and_then_the_struct)
{
    Bench bench = bench_new();
    KafkaDescribeTopicPartitionsRequest request;
    CHECK(decodes(&bench, &KAFKA_DESCRIBE_TOPIC_PARTITIONS_REQUEST, 0, BYTES(1, 0, 0, 7, 0xd0, 0xff, 0),
                  &request));
    CHECK(!request.cursor);
    CHECK_INT(request.response_partition_limit, 2000);
    CHECK(decodes(&bench, &KAFKA_DESCRIBE_TOPIC_PARTITIONS_REQUEST, 0,
                  BYTES(1, 0, 0, 7, 0xd0, 1, 2, 't', 0, 0, 0, 4, 0, 0), &request));
    CHECK_INT(request.cursor->partition_index, 4);
    /* Kafka takes any byte that is not negative for "present". */
    CHECK(decodes(&bench, &KAFKA_DESCRIBE_TOPIC_PARTITIONS_REQUEST, 0,
                  BYTES(1, 0, 0, 7, 0xd0, 0, 2, 't', 0, 0, 0, 9, 0, 0), &request));
    CHECK_INT(request.cursor->partition_index, 9);
    bench_free(&bench);
}

TEST(known_tagged_fields_are_read_and_default_ones_are_not_written)
{
    Bench bench = bench_new();
    KafkaFetchRequest request;
    Slice bytes = BYTES(0, 0, 1, 0xf4, 0, 0, 0, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1,
                        /* tags */ 2, 0, 2, 2, 'c', 1, 13, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 6, 0);
    CHECK(decodes(&bench, &KAFKA_FETCH_REQUEST, 15, bytes, &request));
    CHECK_BYTES(request.cluster_id, SLICE_LITERAL("c"));
    CHECK_INT(request.replica_state.replica_id, 4);
    CHECK_INT(request.replica_state.replica_epoch, 6);
    kafka_defaults(&KAFKA_FETCH_REQUEST.root, &request);
    Status status = kafka_encode(&KAFKA_FETCH_REQUEST, 18, &request, &bench.out);
    CHECK(status_is_ok(&status));
    CHECK_INT(writer_size(&bench.out), 25);
    CHECK_INT(written(&bench).data[24], 0);
    bench_free(&bench);
}

TEST(tagged_fields_out_of_order_twice_or_of_a_wrong_size_are_refused)
{
    /* ApiVersions 3: name "a", version "b", then tags. */
    const KafkaMessage *message = &KAFKA_API_VERSIONS_REQUEST;
    CHECK(refuses(message, 3, BYTES(2, 'a', 2, 'b', 2, 5, 0, 4, 0), "tags do not rise"));
    CHECK(refuses(message, 3, BYTES(2, 'a', 2, 'b', 2, 5, 0, 5, 0), "tags do not rise"));
    CHECK(refuses(message, 3, BYTES(2, 'a', 2, 'b', 1, 5, 2, 0), "longer than the message"));
    CHECK(refuses(message, 3, BYTES(2, 'a', 2, 'b', 2, 5, 0), "more tagged fields"));
    CHECK(refuses(message, 3, BYTES(2, 'a', 2, 'b', 0xff, 0xff, 0xff, 0xff, 0x0f), "more tagged fields"));
    CHECK(refuses(message, 3, BYTES(2, 'a', 2, 'b', 0x80, 0x80, 0x80, 0x80, 0x80, 0x80),
                  "the message ends here"));
    /* ApiVersions response 3: error, no keys, throttle, then tag 1 = epoch of 8 bytes, said to be 9 and 7. */
    message = &KAFKA_API_VERSIONS_RESPONSE;
    CHECK(refuses(message, 3, BYTES(0, 0, 1, 0, 0, 0, 0, 1, 1, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0),
                  "shorter than it says"));
    CHECK(refuses(message, 3, BYTES(0, 0, 1, 0, 0, 0, 0, 1, 1, 7, 0, 0, 0, 0, 0, 0, 0, 1),
                  "finalized_features_epoch"));
}

TEST(lengths_and_counts_beyond_the_message_are_refused)
{
    const KafkaMessage *message = &KAFKA_METADATA_REQUEST;
    CHECK(refuses(message, 1, BYTES(0x7f, 0xff, 0xff, 0xff, 0, 0), "more items"));
    CHECK(refuses(message, 1, BYTES(0, 0, 0, 2, 0, 0, 0), "more items"));
    CHECK(refuses(message, 1, BYTES(0xff, 0xff, 0xff, 0xfe), "negative count"));
    CHECK(refuses(message, 1, BYTES(0x80, 0, 0, 0), "negative count"));
    CHECK(refuses(message, 0, BYTES(0xff, 0xff, 0xff, 0xff), "null where"));
    CHECK(refuses(message, 1, BYTES(0, 0, 0, 1, 0xff, 0xff), "null where"));
    CHECK(refuses(message, 1, BYTES(0, 0, 0, 1, 0xff, 0xfe), "negative length"));
    CHECK(refuses(message, 1, BYTES(0, 0, 0, 1, 0, 9, 'a'), "longer than the message"));
    CHECK(refuses(message, 9, BYTES(0xff, 0xff, 0xff, 0xff, 0x0f, 1), "more items"));
    CHECK(refuses(message, 9, BYTES(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), "ends here"));
    CHECK(refuses(message, 9, BYTES(2, 0x81, 0x80, 2, 0), "more than 32767 bytes"));
    message = &KAFKA_SASL_AUTHENTICATE_REQUEST;
    CHECK(refuses(message, 0, BYTES(0x7f, 0xff, 0xff, 0xff), "longer than the message"));
    CHECK(refuses(message, 2, BYTES(0, 0), "null where"));
}

TEST(an_item_of_a_nullable_array_may_not_be_null_itself)
{
    CHECK(refuses(&KAFKA_CONSUMER_GROUP_HEARTBEAT_REQUEST, 0,
                  BYTES(2, 'g', 2, 'm', 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0), "null where"));
}

TEST(an_impossible_count_takes_no_memory)
{
    Bench bench = bench_new();
    KafkaOffsetForLeaderEpochRequest request;
    uint8_t bytes[1004] = { 0x00, 0xff, 0xff, 0xff };
    Reader in = reader_of(slice_of(bytes, sizeof(bytes)));
    Status status = kafka_decode(&KAFKA_OFFSET_FOR_LEADER_EPOCH_REQUEST, 2, &in, &bench.arena, &request);
    CHECK_INT(status.code, STATUS_CORRUPT);
    CHECK_INT(bench.arena.used, 0);
    CHECK(reader_failed(&in));
    bench_free(&bench);
}

TEST(requests_of_old_versions_get_the_defaults_of_newer_fields)
{
    Bench bench = bench_new();
    KafkaJoinGroupRequest request;
    memset(&request, 0xa5, sizeof(request));
    CHECK(decodes(&bench, &KAFKA_JOIN_GROUP_REQUEST, 0,
                  BYTES(0, 1, 'g', 0, 0, 0x27, 0x10, 0, 0, 0, 8, 'c', 'o', 'n', 's', 'u', 'm', 'e', 'r', 0, 0,
                        0, 1, 0, 5, 'r', 'a', 'n', 'g', 'e', 0, 0, 0, 1, 'x'),
                  &request));
    CHECK_INT(request.rebalance_timeout_ms, -1);
    CHECK(slice_is_null(request.group_instance_id));
    CHECK(slice_is_null(request.reason));
    CHECK_INT(request.member_id.size, 0);
    CHECK_BYTES(request.protocols.items[0].metadata, SLICE_LITERAL("x"));
    bench_free(&bench);
}

TEST(a_flexible_request_header_still_has_a_plain_client_id)
{
    Bench bench = bench_new();
    KafkaRequestHeader header;
    const KafkaApi *api;
    Reader in = reader_of(BYTES(0, 18, 0, 3, 0, 0, 0, 7, 0, 2, 'm', 'e', 0, 2, 'a', 2, 'b', 0));
    Status status = kafka_request_header_read(&in, &bench.arena, &header, &api);
    CHECK(status_is_ok(&status));
    CHECK_STR(api->name, "ApiVersions");
    CHECK_INT(header.correlation_id, 7);
    CHECK_BYTES(header.client_id, SLICE_LITERAL("me"));
    KafkaApiVersionsRequest request;
    status = kafka_decode(api->request, header.request_api_version, &in, &bench.arena, &request);
    CHECK(status_is_ok(&status));
    CHECK_BYTES(request.client_software_version, SLICE_LITERAL("b"));
    CHECK_INT(reader_left(&in), 0);
    bench_free(&bench);
}

TEST(headers_of_unknown_apis_and_future_versions_are_read_as_far_as_possible)
{
    Bench bench = bench_new();
    KafkaRequestHeader header;
    const KafkaApi *api;
    Reader in = reader_of(BYTES(0x7f, 0, 0, 3, 0, 0, 0, 7, 1));
    Status status = kafka_request_header_read(&in, &bench.arena, &header, &api);
    CHECK(status_is_ok(&status));
    CHECK(!api);
    CHECK_INT(header.request_api_key, 0x7f00);
    CHECK_INT(header.correlation_id, 7);
    in = reader_of(BYTES(0, 18, 0, 99, 0, 0, 0, 8, 0xff, 0xff, 0, 1, 2));
    status = kafka_request_header_read(&in, &bench.arena, &header, &api);
    CHECK(status_is_ok(&status));
    CHECK_INT(header.request_api_version, 99);
    CHECK(!kafka_api_has_version(api, 99));
    CHECK_INT(reader_left(&in), 2);
    in = reader_of(BYTES(0, 18, 0, 3, 0, 0, 0));
    status = kafka_request_header_read(&in, &bench.arena, &header, &api);
    CHECK_INT(status.code, STATUS_CORRUPT);
    bench_free(&bench);
}

TEST(the_response_header_of_api_versions_is_never_flexible)
{
    Bench bench = bench_new();
    Status status = kafka_response_header_write(kafka_api_find(KAFKA_API_VERSIONS), 4, 258, &bench.out);
    CHECK(status_is_ok(&status));
    CHECK_BYTES(written(&bench), BYTES(0, 0, 1, 2));
    writer_reset(&bench.out);
    status = kafka_response_header_write(kafka_api_find(KAFKA_METADATA), 9, 258, &bench.out);
    CHECK(status_is_ok(&status));
    CHECK_BYTES(written(&bench), BYTES(0, 0, 1, 2, 0));
    writer_reset(&bench.out);
    status = kafka_response_header_write(kafka_api_find(KAFKA_METADATA), 8, 258, &bench.out);
    CHECK(status_is_ok(&status));
    CHECK_BYTES(written(&bench), BYTES(0, 0, 1, 2));
    bench_free(&bench);
}
