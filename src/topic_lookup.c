/* topic_lookup.c: finds a topic's row through its indexes, as the active snapshot sees it. */
#include "compat.h"
#include "topic_lookup.h"

#include "key_scan.h"
#include "tables.h"
#include "utils/builtins.h"

/* The index has no deleted topics. */
static const KeyScanSpec topic_by_name = { "topic", "topic_name", 1, { KEY_TEXT_EQUAL } };
static const KeyScanSpec topic_by_id = { "topic", "topic_pkey", 1, { KEY_INT4_EQUAL } };

TopicFound topic_lookup(const char *name)
{
    KeyScan scan;
    TopicFound topic = { .name = pstrdup(name) };
    key_scan_open(&scan, &topic_by_name, AccessShareLock);
    key_scan_set_text(&scan, 0, name);
    bool found = key_scan_seek(&scan, ForwardScanDirection);
    if (found) {
        topic.topic_id = key_scan_int32(&scan, Anum_topic_topic_id);
        topic.partitions = key_scan_int32(&scan, Anum_topic_partitions);
    }
    key_scan_close(&scan);
    if (!found) {
        ereport(ERROR, errcode(ERRCODE_UNDEFINED_OBJECT), errmsg("topic \"%.300s\" does not exist", name),
                errhint("Create it with sh_create_topic()."));
    }
    return topic;
}

char *topic_lookup_name(int32 topic_id)
{
    KeyScan scan;
    char *name = NULL;
    key_scan_open(&scan, &topic_by_id, AccessShareLock);
    key_scan_set(&scan, 0, Int32GetDatum(topic_id));
    if (key_scan_seek(&scan, ForwardScanDirection)) {
        name = TextDatumGetCString(key_scan_column(&scan, Anum_topic_name));
    }
    key_scan_close(&scan);
    return name;
}
