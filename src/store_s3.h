/* store_s3.h: ranged reads from S3 for a backend, blocking and interruptible. See store_s3.c. */
#ifndef STREAMHOUSE_STORE_S3_H
#define STREAMHOUSE_STORE_S3_H

#include "postgres.h"

#include "common/block.h"
#include "common/store/store_url.h"

/* Reads length bytes from start, fewer when the object ends; *block is the caller's on success. Tries again
 * what may pass, until streamhouse.fetch_timeout. NOT_FOUND: no such object. ERROR when the query is
 * cancelled. */
extern Status store_s3_get(const StoreUrl *url, const char *key, uint64 start, uint64 length, Block **block);

#endif
