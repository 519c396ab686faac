/* codec_test.c: all messages in all versions, there and back, cut short, and damaged. */
#include "test/unit/message_values.h"
#include "test/unit/test.h"

enum { ARENA_LIMIT = 1 << 20, SEEDS = 24, VERSIONS_MIN = 500, DAMAGED_COPIES = 60 };

/* What a loop over all messages and versions is doing right now. */
typedef struct Round {
    const KafkaMessage *message;
    int16_t version;
    Arena arena;
    Writer out;
    Slice bytes; /* the encoded message */
    void *value; /* what was encoded */
    ValueMaker maker;
} Round;

typedef bool RoundCheck(Round *round);

static bool round_encode(Round *round)
{
    writer_reset(&round->out);
    Status status = kafka_encode(round->message, round->version, round->value, &round->out);
    if (!status_is_ok(&status)) {
        printf("# %s\n", status.message);
    }
    round->bytes = value_written(&round->arena, &round->out);
    return status_is_ok(&status);
}

static bool round_run(Round *round, uint64_t seed, bool plain, RoundCheck *check)
{
    arena_reset(&round->arena);
    round->maker =
        (ValueMaker){ .arena = &round->arena, .state = seed, .version = round->version, .plain = plain };
    round->value = arena_allocate(&round->arena, round->message->root.size);
    value_make_struct(&round->maker, &round->message->root, round->value);
    bool passed = round_encode(round) && check(round);
    if (!passed) {
        printf("# %s version %d, seed %" PRIu64 "\n", round->message->root.name, round->version, seed);
    }
    return passed;
}

/* Runs the check on every version of every message; gives how many there were, or -1 after the first failure.
 */
static int rounds_run(int seeds, bool plain, RoundCheck *check)
{
    Round round;
    int versions = 0;
    bool passed = true;
    arena_init(&round.arena, ARENA_LIMIT);
    writer_init(&round.out);
    for (size_t i = 0; passed && i < KAFKA_MESSAGE_COUNT; i++) {
        round.message = kafka_message_table[i];
        KafkaVersions range = round.message->versions;
        for (round.version = range.first; passed && round.version <= range.last; round.version++) {
            for (int seed = 1; passed && seed <= seeds; seed++) {
                passed = round_run(&round, (uint64_t)seed * 0x9e3779b97f4a7c15u + i + 1, plain, check);
            }
            versions++;
        }
    }
    writer_free(&round.out);
    arena_reset(&round.arena);
    return passed ? versions : -1;
}

static Status round_decode(Round *round, Slice bytes, void **out, size_t *left)
{
    Reader in = reader_of(bytes);
    *out = arena_allocate(&round->arena, round->message->root.size);
    memset(*out, 0xa5, round->message->root.size); /* whatever is not set shows */
    Status status = kafka_decode(round->message, round->version, &in, &round->arena, *out);
    *left = reader_left(&in);
    return status;
}

static bool comes_back(Round *round)
{
    void *back;
    size_t left;
    Slice before = round->bytes;
    Status status = round_decode(round, before, &back, &left);
    if (!status_is_ok(&status)) {
        printf("# %s\n", status.message);
        return false;
    }
    if (left != 0 || !value_structs_equal(&round->arena, &round->message->root, round->value, back)) {
        return false;
    }
    round->value = back;
    return round_encode(round) && slice_equals(before, round->bytes);
}

TEST(every_message_in_every_version_comes_back_as_it_was)
{
    CHECK(rounds_run(SEEDS, false, comes_back) > VERSIONS_MIN);
}

TEST(the_smallest_message_of_every_version_comes_back_as_it_was)
{
    CHECK(rounds_run(1, true, comes_back) > VERSIONS_MIN);
}

static bool is_refused_when_cut(Round *round)
{
    void *back = arena_allocate(&round->arena, round->message->root.size);
    Status status = { .code = STATUS_CORRUPT };
    for (size_t size = 0; status.code == STATUS_CORRUPT && size < round->bytes.size; size++) {
        Arena arena;
        Reader in = reader_of(slice_of(round->bytes.data, size));
        arena_init(&arena, ARENA_LIMIT);
        status = kafka_decode(round->message, round->version, &in, &arena, back);
        arena_reset(&arena);
    }
    return status.code == STATUS_CORRUPT;
}

TEST(every_message_cut_short_anywhere_is_refused)
{
    CHECK(rounds_run(2, false, is_refused_when_cut) > VERSIONS_MIN);
    CHECK(rounds_run(1, true, is_refused_when_cut) > VERSIONS_MIN);
}

/* Damage may go unnoticed (a number is a number), but what is then decoded has to be sound: it can be encoded
 * and decoded once more. */
static bool survives_damage(Round *round)
{
    uint8_t *copy = arena_allocate(&round->arena, round->bytes.size);
    Slice whole = round->bytes;
    for (int i = 0; i < DAMAGED_COPIES && whole.size > 0; i++) {
        void *back;
        size_t left;
        memcpy(copy, whole.data, whole.size);
        for (uint64_t hits = 1 + value_random(&round->maker) % 3; hits > 0; hits--) {
            uint64_t random = value_random(&round->maker);
            copy[(random >> 8) % whole.size] = random & 0x10000 ? 0xff : (uint8_t)random;
        }
        Status status = round_decode(round, slice_of(copy, whole.size), &back, &left);
        if (status_is_ok(&status)) {
            round->value = back;
            if (!round_encode(round) || !comes_back(round)) {
                return false;
            }
        }
    }
    return true;
}

TEST(a_damaged_message_is_refused_or_decoded_to_something_sound)
{
    CHECK(rounds_run(4, false, survives_damage) > VERSIONS_MIN);
}

/* A smallest message of a flexible version ends in the root's tag count, 0. */
static bool skips_unknown_tags(Round *round)
{
    static const uint8_t tags[] = { 2, 100, 3, 'n', 'e', 'w', 0xe8, 0x07, 0 };
    void *back;
    size_t left;
    if (round->version < round->message->flexible_from) {
        return true;
    }
    size_t size = round->bytes.size - 1;
    uint8_t *longer = arena_allocate(&round->arena, size + sizeof(tags));
    memcpy(longer, round->bytes.data, size);
    memcpy(longer + size, tags, sizeof(tags));
    Status status = round_decode(round, slice_of(longer, size + sizeof(tags)), &back, &left);
    return status_is_ok(&status) && left == 0 &&
           value_structs_equal(&round->arena, &round->message->root, round->value, back);
}

TEST(tagged_fields_of_the_future_are_skipped_in_every_flexible_message)
{
    CHECK(rounds_run(1, true, skips_unknown_tags) > VERSIONS_MIN);
}

static bool fits_an_arena_of(const Round *round, size_t limit)
{
    Arena arena;
    Reader in = reader_of(round->bytes);
    void *back = arena_allocate((Arena *)&round->arena, round->message->root.size);
    arena_init(&arena, limit);
    Status status = kafka_decode(round->message, round->version, &in, &arena, back);
    arena_reset(&arena);
    return status_is_ok(&status);
}

/* Sixteen bytes short of what it needs, a message is refused, not decoded half. */
static bool needs_its_memory(Round *round)
{
    void *back;
    size_t left;
    size_t before = round->arena.used;
    Status status = round_decode(round, round->bytes, &back, &left);
    size_t root = (round->message->root.size + 15) & ~(size_t)15;
    size_t needed = round->arena.used - before - root;
    return status_is_ok(&status) && fits_an_arena_of(round, needed) &&
           (needed < 16 || !fits_an_arena_of(round, needed - 16));
}

TEST(memory_is_taken_from_the_arena_and_its_limit_holds)
{
    CHECK(rounds_run(3, false, needs_its_memory) > VERSIONS_MIN);
}

static bool version_is_refused(const KafkaMessage *message, int16_t version)
{
    static uint64_t value[512];
    Arena arena;
    Writer out;
    Reader in = reader_of(SLICE_LITERAL("whatever"));
    arena_init(&arena, ARENA_LIMIT);
    writer_init(&out);
    Status decoded = kafka_decode(message, version, &in, &arena, value);
    Status encoded = kafka_encode(message, version, value, &out);
    bool untouched = writer_size(&out) == 0 && arena.used == 0;
    return decoded.code == STATUS_INVALID && encoded.code == STATUS_INVALID && untouched;
}

TEST(versions_outside_of_the_schema_are_refused)
{
    for (size_t i = 0; i < KAFKA_MESSAGE_COUNT; i++) {
        const KafkaMessage *message = kafka_message_table[i];
        CHECK(version_is_refused(message, (int16_t)(message->versions.first - 1)));
        CHECK(version_is_refused(message, (int16_t)(message->versions.last + 1)));
        CHECK(version_is_refused(message, INT16_MAX));
        CHECK(version_is_refused(message, INT16_MIN));
    }
}
