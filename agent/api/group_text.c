/* group_text.c: see group_text.h. */
#include "agent/api/group_text.h"

#include <stdio.h>

enum { HOST_MAX = 64 };

Slice group_text_copy(KafkaRequest *request, Slice text)
{
    return slice_is_null(text) ? SLICE_NULL : slice_of_text(arena_copy_text(&request->arena, text));
}

Slice group_text_host(KafkaRequest *request)
{
    const char *peer = kafka_request_peer(request);
    const char *port = strrchr(peer, ':');
    int size = port ? (int)(port - peer) : (int)strlen(peer);
    bool brackets = size >= 2 && peer[0] == '[' && peer[size - 1] == ']';
    char *host = arena_allocate(&request->arena, HOST_MAX);
    if (!host) {
        return SLICE_LITERAL("");
    }
    snprintf(host, HOST_MAX, "/%.*s", brackets ? size - 2 : size, brackets ? peer + 1 : peer);
    return slice_of_text(host);
}
