/* request_codec_fuzz.c: a whole frame as a connection gets it: header, then the body that the header
 * announces. */
#include <stdlib.h>

#include "agent/kafka/message.h"

enum { ARENA_LIMIT = 1 << 22 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void request_read(Reader *in, Arena *arena)
{
    const KafkaApi *api;
    KafkaRequestHeader header;
    Status status = kafka_request_header_read(in, arena, &header, &api);
    if (!status_is_ok(&status) || !api || !kafka_api_has_version(api, header.request_api_version)) {
        return;
    }
    void *request = arena_allocate(arena, api->request->root.size);
    status = kafka_decode(api->request, header.request_api_version, in, arena, request);
    if (reader_failed(in) == status_is_ok(&status)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Arena arena;
    Reader in = reader_of(slice_of(data, size));
    arena_init(&arena, ARENA_LIMIT);
    request_read(&in, &arena);
    arena_reset(&arena);
    return 0;
}
