/* streamhouse.c: the library's start. Settings are rows of one table; each part of the brain registers itself. */
#include "compat.h"

#include "fmgr.h"

PG_MODULE_MAGIC;

void _PG_init(void);

void
_PG_init(void)
{
    MarkGUCPrefixReserved("streamhouse");
}
