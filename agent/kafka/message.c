/* message.c: finds APIs in the generated table, and knows which header goes with which version. */
#include "agent/kafka/message.h"

enum {
    REQUEST_HEADER_PLAIN = 1,
    REQUEST_HEADER_FLEXIBLE = 2,
    RESPONSE_HEADER_PLAIN = 0,
    RESPONSE_HEADER_FLEXIBLE = 1
};

const KafkaApi *kafka_apis(size_t *count)
{
    *count = KAFKA_API_COUNT;
    return kafka_api_table;
}

const KafkaApi *kafka_api_find(int16_t key)
{
    size_t low = 0;
    size_t high = KAFKA_API_COUNT;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (kafka_api_table[middle].key < key) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < KAFKA_API_COUNT && kafka_api_table[low].key == key ? &kafka_api_table[low] : NULL;
}

bool kafka_api_has_version(const KafkaApi *api, int16_t version)
{
    return version >= api->request->versions.first && version <= api->request->versions.last;
}

int16_t kafka_request_header_version(const KafkaApi *api, int16_t version)
{
    return version >= api->request->flexible_from ? REQUEST_HEADER_FLEXIBLE : REQUEST_HEADER_PLAIN;
}

int16_t kafka_response_header_version(const KafkaApi *api, int16_t version)
{
    if (api->key == KAFKA_API_VERSIONS) {
        return RESPONSE_HEADER_PLAIN;
    }
    return version >= api->response->flexible_from ? RESPONSE_HEADER_FLEXIBLE : RESPONSE_HEADER_PLAIN;
}

/* Key, version and correlation id stand at the same place in every header, and say how to read the rest. */
Status kafka_request_header_read(Reader *in, Arena *arena, KafkaRequestHeader *header, const KafkaApi **api)
{
    Reader peek = *in;
    kafka_defaults(&KAFKA_REQUEST_HEADER.root, header);
    header->request_api_key = reader_i16(&peek);
    header->request_api_version = reader_i16(&peek);
    header->correlation_id = reader_i32(&peek);
    *api = NULL;
    if (reader_failed(&peek)) {
        return status_error(STATUS_CORRUPT, "a request of %zu bytes is shorter than its header",
                            reader_left(in));
    }
    *api = kafka_api_find(header->request_api_key);
    if (!*api) {
        return status_ok();
    }
    int16_t version = kafka_request_header_version(*api, header->request_api_version);
    return kafka_decode(&KAFKA_REQUEST_HEADER, version, in, arena, header);
}

Status kafka_response_header_write(const KafkaApi *api, int16_t version, int32_t correlation_id, Writer *out)
{
    KafkaResponseHeader header = { .correlation_id = correlation_id };
    return kafka_encode(&KAFKA_RESPONSE_HEADER, kafka_response_header_version(api, version), &header, out);
}
