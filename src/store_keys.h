/* store_keys.h: a backend's credentials for S3. See store_keys.c. */
#ifndef STREAMHOUSE_STORE_KEYS_H
#define STREAMHOUSE_STORE_KEYS_H

#include "postgres.h"

#include "common/store/credentials.h"
#include "datatype/timestamp.h"

/* Those of the chain for streamhouse.s3_profile, asked for anew before they expire; NULL, and why, when there
 * are none. */
extern const Credentials *store_keys_get(const char *region, TimestampTz deadline, Status *status);

/* The server does not know them any more, or the settings are others: the next call asks anew. */
extern void store_keys_forget(void);

#endif
