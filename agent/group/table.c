/* table.c: chains of nodes, twice as many buckets whenever there are more nodes than that. */
#include "agent/group/table.h"

#include <stdlib.h>
#include <unistd.h>

enum { TABLE_COUNT_MAX = 1 << 28 };

/* Names are the clients' to choose: the hash begins with what they cannot know, so that they cannot choose
 * names of one bucket. */
static uint64_t table_seed(void)
{
    static uint64_t seed;
    if (seed == 0 && getentropy(&seed, sizeof(seed)) != 0) {
        seed = (uint64_t)(uintptr_t)&seed;
    }
    return seed | 1;
}

static uint32_t table_hash(Slice key)
{
    uint64_t hash = table_seed();
    for (size_t i = 0; i < key.size; i++) {
        hash = (hash ^ key.data[i]) * 0x9e3779b97f4a7c15ULL;
        hash ^= hash >> 29;
    }
    return (uint32_t)(hash >> 16);
}

static TableNode **table_bucket(const Table *table, uint32_t hash)
{
    TableNode **buckets = table->buckets ? table->buckets : (TableNode **)table->few;
    return &buckets[hash & (table->bucket_count - 1)];
}

void table_init(Table *table)
{
    *table = (Table){ .bucket_count = TABLE_FEW };
}

void table_free(Table *table)
{
    free(table->buckets);
    table_init(table);
}

TableNode *table_find(const Table *table, Slice key)
{
    uint32_t hash = table_hash(key);
    for (TableNode *node = *table_bucket(table, hash); node; node = node->next) {
        if (node->hash == hash && slice_equals(node->key, key)) {
            return node;
        }
    }
    return NULL;
}

static void table_link(Table *table, TableNode *node)
{
    TableNode **bucket = table_bucket(table, node->hash);
    node->next = *bucket;
    *bucket = node;
}

static void table_grow(Table *table)
{
    Table grown = *table;
    grown.bucket_count = table->bucket_count * 2;
    grown.buckets = calloc(grown.bucket_count, sizeof(TableNode *));
    if (!grown.buckets) {
        return;
    }
    for (uint32_t i = 0; i < table->bucket_count; i++) {
        TableNode *next;
        for (TableNode *node = *table_bucket(table, i); node; node = next) {
            next = node->next;
            table_link(&grown, node);
        }
    }
    free(table->buckets);
    *table = grown;
}

void table_insert(Table *table, TableNode *node, Slice key)
{
    if (table->count >= table->bucket_count && table->bucket_count < TABLE_COUNT_MAX) {
        table_grow(table);
    }
    node->key = key;
    node->hash = table_hash(key);
    table_link(table, node);
    table->count++;
}

void table_remove(Table *table, TableNode *node)
{
    TableNode **place = table_bucket(table, node->hash);
    while (*place != node) {
        place = &(*place)->next;
    }
    *place = node->next;
    node->next = NULL;
    table->count--;
}
