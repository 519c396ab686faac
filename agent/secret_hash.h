/* secret_hash.h: a hash for keys that clients choose. */
#ifndef STREAMHOUSE_SECRET_HASH_H
#define STREAMHOUSE_SECRET_HASH_H

#include "common/slice.h"

/* Another one in each process: nobody outside can choose keys of one bucket. */
uint32_t secret_hash(Slice key);

#endif
