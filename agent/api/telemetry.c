/* telemetry.c: GetTelemetrySubscriptions and PushTelemetry (KIP-714), as by a broker that nobody asked to
 * collect clients' metrics: a client gets its instance id and is asked for nothing. Nothing is remembered: a
 * subscription's id follows from the client's, so that every agent knows it. */
#include <uv.h>

#include "agent/api/api.h"
#include "agent/kafka/message.h"
#include "common/compression.h"
#include "common/crc32c.h"

enum { TELEMETRY_PUSH_INTERVAL_MS = 5 * 60 * 1000, TELEMETRY_BYTES_MAX = 1024 * 1024 };

/* The order in which a client should prefer them. */
static int8_t telemetry_codecs[] = { COMPRESSION_ZSTD, COMPRESSION_LZ4, COMPRESSION_GZIP,
                                     COMPRESSION_SNAPPY };

static int32_t telemetry_subscription(const KafkaUuid *client)
{
    return (int32_t)crc32c(slice_of(client->bytes, sizeof(client->bytes)));
}

/* Kafka keeps the ids 0 and 1 for itself. */
static bool telemetry_is_reserved(const KafkaUuid *client)
{
    KafkaUuid one = { .bytes = { [15] = 1 } };
    return api_uuid_is_zero(client) || memcmp(client, &one, sizeof(one)) == 0;
}

/* A random one (RFC 9562, version 4). */
static bool telemetry_new_id(KafkaUuid *client)
{
    if (uv_random(NULL, NULL, client->bytes, sizeof(client->bytes), 0, NULL) != 0) {
        return false;
    }
    client->bytes[6] = (uint8_t)((client->bytes[6] & 0x0f) | 0x40);
    client->bytes[8] = (uint8_t)((client->bytes[8] & 0x3f) | 0x80);
    return true;
}

void telemetry_subscriptions_handle(KafkaRequest *request)
{
    const KafkaGetTelemetrySubscriptionsRequest *asked = request->message;
    KafkaGetTelemetrySubscriptionsResponse response;
    kafka_defaults(&KAFKA_GET_TELEMETRY_SUBSCRIPTIONS_RESPONSE.root, &response);
    response.client_instance_id = asked->client_instance_id;
    if (api_uuid_is_zero(&asked->client_instance_id)) {
        if (!telemetry_new_id(&response.client_instance_id)) {
            response.error_code = KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
        }
    } else if (telemetry_is_reserved(&asked->client_instance_id)) {
        response.error_code = KAFKA_ERROR_INVALID_REQUEST;
    }
    response.subscription_id = telemetry_subscription(&response.client_instance_id);
    response.accepted_compression_types.items = telemetry_codecs;
    response.accepted_compression_types.count = sizeof(telemetry_codecs);
    response.push_interval_ms = TELEMETRY_PUSH_INTERVAL_MS;
    response.telemetry_max_bytes = TELEMETRY_BYTES_MAX;
    response.delta_temporality = true;
    kafka_request_reply(request, &response);
}

static KafkaError telemetry_check(const KafkaPushTelemetryRequest *pushed)
{
    if (telemetry_is_reserved(&pushed->client_instance_id)) {
        return KAFKA_ERROR_INVALID_REQUEST;
    }
    if (pushed->subscription_id != telemetry_subscription(&pushed->client_instance_id)) {
        return KAFKA_ERROR_UNKNOWN_SUBSCRIPTION_ID;
    }
    if (pushed->compression_type < COMPRESSION_NONE || pushed->compression_type >= COMPRESSION_CODEC_COUNT) {
        return KAFKA_ERROR_UNSUPPORTED_COMPRESSION_TYPE;
    }
    return pushed->metrics.size > TELEMETRY_BYTES_MAX ? KAFKA_ERROR_TELEMETRY_TOO_LARGE : KAFKA_ERROR_NONE;
}

/* What is pushed was not asked for; it is read by nobody. */
void push_telemetry_handle(KafkaRequest *request)
{
    KafkaPushTelemetryResponse response;
    kafka_defaults(&KAFKA_PUSH_TELEMETRY_RESPONSE.root, &response);
    response.error_code = (int16_t)telemetry_check(request->message);
    kafka_request_reply(request, &response);
}
