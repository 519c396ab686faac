/* end_hint.c: a hint for finding the last row of a key. A btree scan looks at every entry of a leaf page that
 * its keys allow before it gives the first, so "the last of all" costs hundreds of comparisons and "the last
 * one from here on" two. A hint is never believed, only tried: a search from it that finds nothing is
 * followed by one without it. */
#include "compat.h"
#include "end_hint.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Then all are forgotten: about 8 MiB. */
enum { END_HINTS_MAX = 131072, END_HINTS_FIRST = 1024 };

typedef struct EndHintKey {
    int32 topic_id;
    int32 partition;
    int64 producer_id;
} EndHintKey;
StaticAssertDecl(sizeof(EndHintKey) == 16, "a key without padding can be hashed as bytes");

typedef struct EndHint {
    EndHintKey key;
    int64 end_offset;
} EndHint;

static HTAB *hints = NULL;

static void end_hints_open(void)
{
    HASHCTL control = { .keysize = sizeof(EndHintKey),
                        .entrysize = sizeof(EndHint),
                        .hcxt = TopMemoryContext };
    hints = hash_create("StreamHouse end hints", END_HINTS_FIRST, &control,
                        HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
}

int64 end_hint_get(int32 topic_id, int32 partition, int64 producer_id)
{
    EndHintKey key = { topic_id, partition, producer_id };
    EndHint *hint = hints ? hash_search(hints, &key, HASH_FIND, NULL) : NULL;
    return hint ? hint->end_offset : PG_INT64_MIN;
}

void end_hint_put(int32 topic_id, int32 partition, int64 producer_id, int64 end_offset)
{
    EndHintKey key = { topic_id, partition, producer_id };
    if (hints && hash_get_num_entries(hints) >= END_HINTS_MAX) {
        HTAB *full = hints;
        hints = NULL;
        hash_destroy(full);
    }
    if (!hints) {
        end_hints_open();
    }
    EndHint *hint = hash_search(hints, &key, HASH_ENTER, NULL);
    hint->end_offset = end_offset;
}
