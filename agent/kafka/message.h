/* message.h: the APIs of Kafka's protocol as one table: key, name, versions, header versions, schemas. ApiVersions, the
 * request dispatcher, logs, tests and fuzzers read this table. */
#ifndef STREAMHOUSE_KAFKA_MESSAGE_H
#define STREAMHOUSE_KAFKA_MESSAGE_H

#include "agent/kafka/codec.h"
#include "kafka_messages.h" /* generated: structs, KAFKA_<API> keys, KAFKA_<MESSAGE> tables */

typedef struct KafkaApi {
    int16_t key;
    const char *name;           /* as Kafka spells it: "Fetch" */
    const KafkaMessage *request;
    const KafkaMessage *response;
    KafkaVersions offered;      /* the versions a server of today advertises; request->versions may start earlier */
} KafkaApi;

/* The API of a key, NULL when the key is not in the schema. */
const KafkaApi *kafka_api_find(int16_t key);

/* All of them, by rising key; returns the count. */
size_t kafka_apis(const KafkaApi **out);

/* Version of the RequestHeader that a request of this API and version has: 1, or 2 from the first flexible version on. A version
 * newer than the schema's counts as flexible: that is how an ApiVersions request of the future can be answered. */
int16_t kafka_request_header_version(const KafkaApi *api, int16_t version);

/* Version of the ResponseHeader: 0 or 1; always 0 for ApiVersions, whose client does not know yet what we speak. */
int16_t kafka_response_header_version(const KafkaApi *api, int16_t version);

/* Whether the version can be decoded and encoded. */
bool kafka_api_has_version(const KafkaApi *api, int16_t version);

#endif
