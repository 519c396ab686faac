/* crc32c.c: isa-l does the work (3-way SSE4.2 and PCLMULQDQ where the machine has them); it neither inverts
 * nor takes size_t. */
#include "common/crc32c.h"

#include <isa-l/crc.h>

enum { CRC32C_PIECE_MAX = 1 << 30 };

uint32_t crc32c_extend(uint32_t crc, Slice bytes)
{
    uint32_t state = ~crc;
    while (bytes.size > 0) {
        int piece = bytes.size < CRC32C_PIECE_MAX ? (int)bytes.size : CRC32C_PIECE_MAX;
        /* isa-l only reads, its signature lacks a const. */
        state = crc32_iscsi((unsigned char *)bytes.data, piece, state);
        bytes.data += piece;
        bytes.size -= (size_t)piece;
    }
    return ~state;
}

uint32_t crc32c(Slice bytes)
{
    return crc32c_extend(0, bytes);
}
