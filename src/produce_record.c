/* produce_record.c: what people give, made a record: bytes, time, headers, partition. */
#include "compat.h"
#include "produce_record.h"

#include "common/murmur2.h"
#include "utils/builtins.h"

#define UNIX_EPOCH_USECS ((int64)(POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY)

enum { HEADERS_FIRST = 8 };

Slice slice_of_varlena(struct varlena *bytes)
{
    return bytes ? slice_of(VARDATA_ANY(bytes), VARSIZE_ANY_EXHDR(bytes)) : SLICE_NULL;
}

static int64 unix_ms(TimestampTz timestamp)
{
    return (timestamp + UNIX_EPOCH_USECS) / 1000;
}

int64 record_timestamp_now(void)
{
    return unix_ms(GetCurrentTimestamp());
}

static void complain_of_timestamp(const ProduceTopic *topic, const char *config)
{
    ereport(ERROR, errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
            errmsg("the timestamp is too far from now for topic \"%s\"", topic->name),
            errhint("See %s in sh_alter_topic().", config));
}

int64 record_timestamp(const ProduceTopic *topic, TimestampTz timestamp)
{
    if (TIMESTAMP_NOT_FINITE(timestamp) || timestamp < -UNIX_EPOCH_USECS) {
        ereport(ERROR, errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
                errmsg("a record's timestamp cannot be before 1970 or infinite"),
                errhint("Leave ts out, or null, for the current time."));
    }
    int64 at = unix_ms(timestamp);
    int64 now = record_timestamp_now();
    if (topic->config.is_append_time) {
        return at;
    }
    if (now - at > topic->config.before_max_ms) {
        complain_of_timestamp(topic, "message.timestamp.before.max.ms");
    }
    if (at - now > topic->config.after_max_ms) {
        complain_of_timestamp(topic, "message.timestamp.after.max.ms");
    }
    return at;
}

static void complain_of_headers(void)
{
    ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
            errmsg("headers must be a JSON object of strings"),
            errhint("For example {\"trace\": \"abc\", \"empty\": null, \"twice\": [\"one\", \"two\"]}."));
}

static Slice slice_of_json_string(const JsonbValue *value)
{
    if (value->type == jbvNull) {
        return SLICE_NULL;
    }
    if (value->type != jbvString) {
        complain_of_headers();
    }
    return slice_of(value->val.string.val, value->val.string.len);
}

typedef struct HeaderList {
    RecordHeader *headers;
    int count;
    int capacity;
} HeaderList;

static void headers_add(HeaderList *list, Slice key, const JsonbValue *value)
{
    if (list->count == list->capacity) {
        list->capacity = Max(HEADERS_FIRST, list->capacity * 2);
        size_t bytes = sizeof(RecordHeader) * list->capacity;
        list->headers = list->headers ? repalloc(list->headers, bytes) : palloc(bytes);
    }
    list->headers[list->count++] = (RecordHeader){ key, slice_of_json_string(value) };
}

void record_read_headers(RecordInput *record, Jsonb *json)
{
    HeaderList list = { 0 };
    JsonbValue value;
    JsonbIteratorToken token;
    Slice key = SLICE_NULL;
    bool is_list = false;
    JsonbIterator *walk = JsonbIteratorInit(&json->root);
    if (!JB_ROOT_IS_OBJECT(json)) {
        complain_of_headers();
    }
    (void)JsonbIteratorNext(&walk, &value, false);
    while ((token = JsonbIteratorNext(&walk, &value, false)) != WJB_DONE) {
        if (token == WJB_KEY) {
            key = slice_of(value.val.string.val, value.val.string.len);
        } else if (token == WJB_VALUE || token == WJB_ELEM) {
            headers_add(&list, key, &value);
        } else if (token == WJB_BEGIN_OBJECT || (token == WJB_BEGIN_ARRAY && is_list)) {
            complain_of_headers();
        }
        is_list = token == WJB_BEGIN_ARRAY || (is_list && token == WJB_ELEM);
    }
    record->headers = list.headers;
    record->header_count = list.count;
}

void record_check(const ProduceTopic *topic, const RecordInput *record)
{
    if (topic->config.keys_required && slice_is_null(record->key)) {
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                errmsg("a record of topic \"%s\" needs a key", topic->name),
                errhint("Its cleanup.policy has compact, which keeps the last record of each key: name one "
                        "with key =>."));
    }
}

int32 record_partition(const ProduceTopic *topic, const RecordInput *record, int32 wanted)
{
    if (wanted == PARTITION_ANY) {
        return slice_is_null(record->key) ? topic->sticky : murmur2_partition(record->key, topic->partitions);
    }
    if (wanted < 0 || wanted >= topic->partitions) {
        ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                errmsg("topic \"%s\" has no partition %d", topic->name, wanted),
                errhint("Its partitions are 0 to %d.", topic->partitions - 1));
    }
    return wanted;
}
