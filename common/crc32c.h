/* crc32c.h: CRC-32C (Castagnoli, RFC 3720 appendix B.4), the checksum of Kafka's record batches and of our
 * objects. Values are final ones: reflected, inverted at both ends, as they are stored. */
#ifndef STREAMHOUSE_CRC32C_H
#define STREAMHOUSE_CRC32C_H

#include "common/slice.h"

/* The checksum of bytes; 0 for none. */
uint32_t crc32c(Slice bytes);

/* The checksum of earlier bytes (whose checksum is crc, 0 for none) followed by these. */
uint32_t crc32c_extend(uint32_t crc, Slice bytes);

#endif
