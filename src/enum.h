/* enum.h: the extension's enum types and their values, as this database numbers them. */
#ifndef STREAMHOUSE_ENUM_H
#define STREAMHOUSE_ENUM_H

#include "postgres.h"

/* A type of schema streamhouse. */
extern Oid enum_type(const char *type);
extern Oid enum_value(const char *type, const char *label);

#endif
