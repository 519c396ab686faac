/* enum.c: enum types and values by name, from the system caches. */
#include "compat.h"
#include "enum.h"

#include "catalog/namespace.h"
#include "catalog/pg_enum.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

Oid enum_type(const char *type)
{
    return GetSysCacheOid2(TYPENAMENSP, Anum_pg_type_oid, CStringGetDatum(type),
                           ObjectIdGetDatum(get_namespace_oid("streamhouse", false)));
}

Oid enum_value(const char *type, const char *label)
{
    return GetSysCacheOid2(ENUMTYPOIDNAME, Anum_pg_enum_oid, ObjectIdGetDatum(enum_type(type)),
                           CStringGetDatum(label));
}
