/* api.c: helpers of the handlers. */
#include "agent/api/api.h"

#include "agent/brain/brain.h"

Topic *api_topic(const KafkaRequest *request, Slice name, const KafkaUuid *topic_id, KafkaError *error)
{
    const Catalog *catalog = api_agent(request)->catalog;
    *error = KAFKA_ERROR_NONE;
    if (topic_id && !api_uuid_is_zero(topic_id)) {
        Topic *topic = catalog_topic_by_uuid(catalog, topic_id->bytes);
        *error = topic ? KAFKA_ERROR_NONE : KAFKA_ERROR_UNKNOWN_TOPIC_ID;
        return topic;
    }
    Topic *topic = catalog_topic(catalog, name);
    *error = topic ? KAFKA_ERROR_NONE : KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION;
    return topic;
}

KafkaError api_check_epoch(const Partition *partition, int32_t seen_epoch)
{
    if (seen_epoch < 0 || seen_epoch == partition->epoch) {
        return KAFKA_ERROR_NONE;
    }
    return seen_epoch < partition->epoch ? KAFKA_ERROR_FENCED_LEADER_EPOCH : KAFKA_ERROR_UNKNOWN_LEADER_EPOCH;
}

KafkaError api_brain_error(const BrainResult *result)
{
    static const struct {
        StatusCode code;
        KafkaError error;
    } errors[] = {
        { STATUS_OK, KAFKA_ERROR_NONE },
        { STATUS_NOT_FOUND, KAFKA_ERROR_UNKNOWN_TOPIC_OR_PARTITION },
        { STATUS_EXISTS, KAFKA_ERROR_TOPIC_ALREADY_EXISTS },
        { STATUS_INVALID, KAFKA_ERROR_INVALID_REQUEST },
        { STATUS_DENIED, KAFKA_ERROR_CLUSTER_AUTHORIZATION_FAILED },
        { STATUS_UNAVAILABLE, KAFKA_ERROR_REQUEST_TIMED_OUT },
        { STATUS_TIMEOUT, KAFKA_ERROR_REQUEST_TIMED_OUT },
        { STATUS_LIMIT, KAFKA_ERROR_REQUEST_TIMED_OUT },
    };
    int named = brain_kafka_error(result);
    if (named >= 0) {
        return (KafkaError)named;
    }
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        if (errors[i].code == result->status.code) {
            return errors[i].error;
        }
    }
    return KAFKA_ERROR_UNKNOWN_SERVER_ERROR;
}

KafkaError api_group_error(const BrainResult *result)
{
    int named = brain_kafka_error(result);
    if (named >= 0) {
        return (KafkaError)named;
    }
    return result->status.code == STATUS_DENIED ? KAFKA_ERROR_GROUP_AUTHORIZATION_FAILED
                                                : KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE;
}

/* The bytes of the UTF-8 character that text begins with, 0 when it begins with none; size is above 0. */
static size_t utf8_character(const uint8_t *text, size_t size)
{
    static const struct {
        uint8_t mask;
        uint8_t lead;
        uint32_t least; /* a shorter form would do for anything below */
    } forms[] = {
        { 0x80, 0x00, 0x01 }, { 0xE0, 0xC0, 0x80 }, { 0xF0, 0xE0, 0x800 }, { 0xF8, 0xF0, 0x10000 }
    };
    enum { FORMS = sizeof(forms) / sizeof(forms[0]) };
    for (size_t length = 1; length <= FORMS && length <= size; length++) {
        if ((text[0] & forms[length - 1].mask) != forms[length - 1].lead) {
            continue;
        }
        uint32_t code = text[0] & (uint8_t)~forms[length - 1].mask;
        for (size_t i = 1; i < length; i++) {
            if ((text[i] & 0xC0) != 0x80) {
                return 0;
            }
            code = code << 6 | (text[i] & 0x3F);
        }
        bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
        return code >= forms[length - 1].least && code <= 0x10FFFF && !is_surrogate ? length : 0;
    }
    return 0;
}

bool api_text_is_storable(Slice text)
{
    for (size_t at = 0; at < text.size;) {
        size_t length = utf8_character(text.data + at, text.size - at);
        if (length == 0) {
            return false;
        }
        at += length;
    }
    return true;
}
