/* table.h: a hash table of nodes that live inside what they find. It never fails: when memory for more
 * buckets is short, its chains grow longer. */
#ifndef STREAMHOUSE_GROUP_TABLE_H
#define STREAMHOUSE_GROUP_TABLE_H

#include "common/slice.h"

typedef struct TableNode TableNode;

struct TableNode {
    TableNode *next;
    Slice key; /* lives as long as the node is in the table */
    uint32_t hash;
};

enum { TABLE_FEW = 4 };

typedef struct Table {
    TableNode **buckets; /* NULL: the few */
    TableNode *few[TABLE_FEW];
    uint32_t bucket_count;
    uint32_t count;
} Table;

void table_init(Table *table);
/* The nodes are their owners'. */
void table_free(Table *table);
TableNode *table_find(const Table *table, Slice key);
/* The key must not be there yet. */
void table_insert(Table *table, TableNode *node, Slice key);
void table_remove(Table *table, TableNode *node);

#endif
