/* codec_fuzz.c: any message in any version. Input: message index, version, then the message. What can be
 * decoded can be encoded, and decodes to the same again. */
#include <stdlib.h>

#include "test/unit/message_values.h"

enum { ARENA_LIMIT = 1 << 22 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(bool holds)
{
    if (!holds) {
        abort();
    }
}

/* The arena is limited too: running out of it is a refusal like any other. */
static void decode_and_return(const KafkaMessage *message, int16_t version, Slice bytes, Arena *arena)
{
    Reader in = reader_of(bytes);
    void *value = arena_allocate(arena, message->root.size);
    Status status = kafka_decode(message, version, &in, arena, value);
    if (!status_is_ok(&status)) {
        expect(status.code == STATUS_CORRUPT || status.code == STATUS_LIMIT);
        return;
    }
    Writer out;
    writer_init(&out);
    status = kafka_encode(message, version, value, &out);
    expect(status_is_ok(&status));
    Arena second_arena;
    arena_init(&second_arena, 4 * (size_t)ARENA_LIMIT);
    in = reader_of(value_written(&second_arena, &out));
    void *second = arena_allocate(&second_arena, message->root.size);
    status = kafka_decode(message, version, &in, &second_arena, second);
    expect(status_is_ok(&status) && reader_left(&in) == 0);
    expect(value_structs_equal(&second_arena, &message->root, value, second));
    arena_reset(&second_arena);
    writer_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    const KafkaMessage *message = kafka_message_table[data[0] % KAFKA_MESSAGE_COUNT];
    int16_t count = (int16_t)(message->versions.last - message->versions.first + 1);
    int16_t version = (int16_t)(message->versions.first + data[1] % count);
    Arena arena;
    arena_init(&arena, ARENA_LIMIT);
    decode_and_return(message, version, slice_of(data + 2, size - 2), &arena);
    arena_reset(&arena);
    return 0;
}
