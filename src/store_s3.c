/* store_s3.c: ranged reads from S3. */
#include "compat.h"
#include "store_s3.h"

Status store_s3_get(const StoreUrl *url, const char *key, uint64 start, uint64 length, Block **block)
{
    (void)url, (void)key, (void)start, (void)length, (void)block;
    return status_error(STATUS_INVALID, "reading from S3 is not built yet");
}
