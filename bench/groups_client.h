/* groups_client.h: one member of a consumer group, as a client that does nothing else: a socket, what it has
 * asked, and where it stands in its group. For groups_load.c. */
#ifndef STREAMHOUSE_BENCH_GROUPS_CLIENT_H
#define STREAMHOUSE_BENCH_GROUPS_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/samples.h"

enum { ASKED_MAX = 8, MEMBER_ID_MAX = 160, NAME_MAX_BYTES = 64, OWNED_MAX = 256, UUID_BYTES = 16 };

typedef struct Asked {
    int16_t api;
    int64_t sent_ns;
} Asked;

typedef enum MemberState {
    MEMBER_OUT,     /* not asked for anything yet, or to begin again at due_ns */
    MEMBER_FINDING, /* the coordinator */
    MEMBER_JOINING,
    MEMBER_SYNCING,
    MEMBER_IN,
    MEMBER_PROBE, /* of no group: it asks for metadata */
    MEMBER_IDLE   /* of no group: it has asked once */
} MemberState;

/* What a phase measures. */
typedef struct Measured {
    Samples heartbeats;
    Samples commits;
    Samples metadata;
} Measured;

typedef struct Group {
    char name[NAME_MAX_BYTES];
    char topic[NAME_MAX_BYTES];
    int partitions;
    int members;
    int64_t joined_ns; /* when the first member of the present generation got its JoinGroup answered */
    int64_t synced_ns; /* when the last of them had its partitions */
    int32_t generation;
} Group;

typedef struct Member {
    int fd;
    MemberState state;
    Group *group;
    bool classic;
    bool leaves_no_rest; /* commits again as soon as it may */
    char id[MEMBER_ID_MAX];
    int32_t generation; /* or the member's epoch */
    int64_t due_ns;     /* when the next heartbeat, probe or attempt is due */
    int32_t interval_ms;
    int32_t owned[OWNED_MAX];
    int owned_count;
    uint8_t topic_id[UUID_BYTES];
    bool owned_is_news; /* to the coordinator */
    int64_t offset;
    Asked asked[ASKED_MAX];
    int asked_first, asked_count;
    uint8_t *input;
    size_t input_used, input_capacity;
    Measured *measured;
} Member;

int64_t now_ns(void);
__attribute__((noreturn, format(printf, 1, 2))) void die(const char *format, ...);

/* Asks for what is due, if anything. */
void member_turn(Member *member, int64_t now);
/* Reads what has come and acts on it. */
void member_received(Member *member);
void member_commit(Member *member);

#endif
