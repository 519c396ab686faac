/* relation.h: the extension's tables by their names. */
#ifndef STREAMHOUSE_RELATION_H
#define STREAMHOUSE_RELATION_H

#include "postgres.h"

/* A table of schema streamhouse by its name; an index is found like its table. */
extern Oid streamhouse_relation(const char *name);

#endif
