/* promotion.h: when this server became a primary. See promotion.c. */
#ifndef STREAMHOUSE_PROMOTION_H
#define STREAMHOUSE_PROMOTION_H

#include "postgres.h"

#include "datatype/timestamp.h"

/* When a standby was promoted to what this server is now; long ago when none was, and on a standby. */
extern TimestampTz promotion_time(void);

#endif
