/* message_test.c: the tables of APIs and of error codes. */
#include "agent/kafka/error.h"
#include "agent/kafka/message.h"
#include "test/unit/test.h"

typedef struct Offer {
    int16_t key;
    int16_t oldest;
    int16_t newest;
    int16_t flexible_from; /* -1: never */
} Offer;

/* What Kafka 4.2 offers to clients, Produce from 0 (some versions of librdkafka give up on a broker that does
 * not). */
static const Offer offers[] = {
    { 0, 0, 13, 9 }, { 1, 4, 18, 12 }, { 2, 1, 11, 6 }, { 3, 0, 13, 9 }, { 8, 2, 10, 8 }, { 9, 1, 10, 6 },
    { 10, 0, 6, 3 }, { 11, 0, 9, 6 },  { 12, 0, 4, 4 }, { 13, 0, 5, 4 }, { 14, 0, 5, 4 }, { 15, 0, 6, 5 },
    { 16, 0, 5, 3 }, { 17, 0, 1, -1 }, { 18, 0, 4, 3 }, { 19, 2, 7, 5 }, { 20, 1, 6, 4 }, { 21, 0, 2, 2 },
    { 22, 0, 5, 2 }, { 23, 2, 4, 4 },  { 24, 0, 5, 3 }, { 25, 0, 4, 3 }, { 26, 0, 5, 3 }, { 28, 0, 5, 3 },
    { 29, 1, 3, 2 }, { 30, 1, 3, 2 },  { 31, 1, 3, 2 }, { 32, 1, 4, 4 }, { 33, 0, 2, 2 }, { 35, 1, 4, 2 },
    { 36, 0, 2, 2 }, { 37, 0, 3, 2 },  { 42, 0, 2, 2 }, { 43, 0, 2, 2 }, { 44, 0, 1, 1 }, { 45, 0, 1, 0 },
    { 46, 0, 0, 0 }, { 47, 0, 0, -1 }, { 48, 0, 1, 1 }, { 49, 0, 1, 1 }, { 50, 0, 0, 0 }, { 51, 0, 0, 0 },
    { 60, 0, 2, 0 }, { 61, 0, 0, 0 },  { 65, 0, 0, 0 }, { 66, 0, 2, 0 }, { 68, 0, 1, 0 }, { 69, 0, 1, 0 },
    { 71, 0, 0, 0 }, { 72, 0, 0, 0 },  { 74, 0, 1, 0 }, { 75, 0, 0, 0 },
};

enum { OFFER_COUNT = sizeof(offers) / sizeof(offers[0]) };

TEST(the_api_table_offers_what_clients_of_today_expect)
{
    size_t count;
    const KafkaApi *apis = kafka_apis(&count);
    CHECK_INT(count, OFFER_COUNT);
    for (size_t i = 0; i < count; i++) {
        int16_t flexible = apis[i].request->flexible_from;
        CHECK_INT(apis[i].key, offers[i].key);
        CHECK_INT(apis[i].offered.first, offers[i].oldest);
        CHECK_INT(apis[i].offered.last, offers[i].newest);
        CHECK_INT(flexible == INT16_MAX ? -1 : flexible, offers[i].flexible_from);
        CHECK_INT(apis[i].response->flexible_from, flexible);
    }
}

TEST(every_version_that_is_offered_can_be_spoken)
{
    size_t count;
    const KafkaApi *apis = kafka_apis(&count);
    CHECK(count > 0);
    for (size_t i = 0; i < count; i++) {
        CHECK(kafka_api_has_version(&apis[i], apis[i].offered.first));
        CHECK(kafka_api_has_version(&apis[i], apis[i].offered.last));
        CHECK(!kafka_api_has_version(&apis[i], (int16_t)(apis[i].offered.last + 1)));
        CHECK(!kafka_api_has_version(&apis[i], -1));
        CHECK_INT(apis[i].request->versions.first, apis[i].response->versions.first);
        CHECK_INT(apis[i].request->versions.last, apis[i].response->versions.last);
    }
}

TEST(an_api_is_found_by_its_key_and_only_by_that)
{
    size_t found = 0;
    for (int key = INT16_MIN; key <= INT16_MAX; key++) {
        const KafkaApi *api = kafka_api_find((int16_t)key);
        if (api) {
            CHECK_INT(api->key, key);
            found++;
        }
    }
    CHECK_INT(found, OFFER_COUNT);
    CHECK_STR(kafka_api_find(KAFKA_FETCH)->name, "Fetch");
    CHECK_STR(kafka_api_find(KAFKA_FETCH)->request->root.name, "FetchRequest");
    CHECK(!kafka_api_find(4)); /* LeaderAndIsr, between brokers only */
}

TEST(header_versions_follow_the_first_flexible_version)
{
    const KafkaApi *fetch = kafka_api_find(KAFKA_FETCH);
    CHECK_INT(kafka_request_header_version(fetch, 11), 1);
    CHECK_INT(kafka_request_header_version(fetch, 12), 2);
    CHECK_INT(kafka_response_header_version(fetch, 11), 0);
    CHECK_INT(kafka_response_header_version(fetch, 12), 1);
    const KafkaApi *handshake = kafka_api_find(KAFKA_SASL_HANDSHAKE);
    CHECK_INT(kafka_request_header_version(handshake, 1), 1);
    CHECK_INT(kafka_response_header_version(handshake, 1), 0);
    const KafkaApi *versions = kafka_api_find(KAFKA_API_VERSIONS);
    CHECK_INT(kafka_request_header_version(versions, 99), 2);
    CHECK_INT(kafka_response_header_version(versions, 99), 0);
}

TEST(structs_that_are_held_by_value_end_within_their_owner)
{
    for (size_t i = 0; i < KAFKA_MESSAGE_COUNT; i++) {
        const KafkaStruct *root = &kafka_message_table[i]->root;
        for (uint16_t f = 0; f < root->field_count; f++) {
            CHECK(root->fields[f].offset < root->size);
            CHECK(root->fields[f].type < KAFKA_TYPE_COUNT);
            bool tagged = root->fields[f].tag >= 0;
            CHECK_INT(tagged, f >= root->field_count - root->tagged_count);
        }
    }
}

TEST(error_codes_have_their_names_and_say_whether_to_try_again)
{
    CHECK_INT(KAFKA_ERROR_UNSUPPORTED_VERSION, 35);
    CHECK_INT(KAFKA_ERROR_INVALID_RECORD, 87);
    CHECK_INT(KAFKA_ERROR_UNKNOWN_TOPIC_ID, 100);
    CHECK_STR(kafka_error_name(0), "NONE");
    CHECK_STR(kafka_error_name(6), "NOT_LEADER_OR_FOLLOWER");
    CHECK_STR(kafka_error_name(45), "OUT_OF_ORDER_SEQUENCE_NUMBER");
    CHECK_STR(kafka_error_name(-1), "UNKNOWN_SERVER_ERROR");
    CHECK(kafka_error_is_retriable(KAFKA_ERROR_NOT_LEADER_OR_FOLLOWER));
    CHECK(kafka_error_is_retriable(KAFKA_ERROR_REQUEST_TIMED_OUT));
    CHECK(!kafka_error_is_retriable(KAFKA_ERROR_OUT_OF_ORDER_SEQUENCE_NUMBER));
    CHECK(!kafka_error_is_retriable(KAFKA_ERROR_NONE));
}

TEST(every_error_code_has_words_and_unknown_ones_do_no_harm)
{
    int known = 0;
    for (int code = INT16_MIN; code <= INT16_MAX; code++) {
        CHECK(kafka_error_name((int16_t)code) && kafka_error_text((int16_t)code));
        CHECK(strlen(kafka_error_text((int16_t)code)) > 5);
        known += kafka_error_is_known((int16_t)code);
    }
    CHECK_INT(known, 135); /* -1 to 133 */
    CHECK(!kafka_error_is_known(134));
    CHECK(!kafka_error_is_known(-2));
    CHECK_STR(kafka_error_name(134), "UNKNOWN_SERVER_ERROR");
}
