/* message.h: the APIs of Kafka's protocol as one table: key, name, versions, header versions, schemas.
 * ApiVersions, the request dispatcher, logs, tests and fuzzers read this table. */
#ifndef STREAMHOUSE_KAFKA_MESSAGE_H
#define STREAMHOUSE_KAFKA_MESSAGE_H

#include "agent/kafka/codec.h"
#include "kafka_messages.h" /* generated: structs, KAFKA_<API> keys, KAFKA_<MESSAGE> tables */

/* The API of a key, NULL when the key is not in the schema. */
const KafkaApi *kafka_api_find(int16_t key);

/* All of them, by rising key; sets the count. */
const KafkaApi *kafka_apis(size_t *count);

/* Whether the version can be decoded and encoded. */
bool kafka_api_has_version(const KafkaApi *api, int16_t version);

/* Version of the RequestHeader that a request of this API and version has: 1, or 2 from the first flexible
 * version on. A version newer than the schema's counts as flexible: that is how an ApiVersions request of the
 * future can be answered. */
int16_t kafka_request_header_version(const KafkaApi *api, int16_t version);

/* Version of the ResponseHeader: 0 or 1; always 0 for ApiVersions, whose client does not know yet what we
 * speak. */
int16_t kafka_response_header_version(const KafkaApi *api, int16_t version);

/* Reads the header in front of a request (the frame without its size) and leaves the reader at the body. *api
 * is NULL when the key is not in the schema; only request_api_key, request_api_version and correlation_id of
 * the header are right then. */
MUST_CHECK Status kafka_request_header_read(Reader *in, Arena *arena, KafkaRequestHeader *header,
                                            const KafkaApi **api);

/* Writes the header in front of a response. */
MUST_CHECK Status kafka_response_header_write(const KafkaApi *api, int16_t version, int32_t correlation_id,
                                              Writer *out);

#endif
