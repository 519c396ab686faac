/* groups_load.c: thousands of members of consumer groups in one process and one thread, over Kafka's protocol
 * as it is on the wire: a real client for each would measure clients. It reads commands from its standard
 * input and answers each with one line of JSON; members beat all the while.
 *
 *   groups_load HOST:PORT classic|consumer
 *
 *   join GROUPS MEMBERS TOPIC PARTITIONS   so many members each for so many groups; group N's topic is
 * TOPICN; until all have their partitions add GROUP                              one more member; until
 * everybody in that group has partitions again metadata SECONDS                       somebody asks for all
 * topics, again and again hold SECONDS                           nothing but heartbeats commit SECONDS every
 * member commits an offset, and again once that is answered idle CONNECTIONS                       more
 * connections that ask once and stay */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench/groups_client.h"
#include "agent/kafka/message.h"

enum {
    MEMBERS_MAX = 20000,
    GROUPS_MAX = 2000,
    EVENTS = 512,
    TICK_MS = 2,
    PHASE_S_MAX = 120,
    LINE_MAX_BYTES = 256
};

typedef struct Load {
    struct sockaddr_in agent;
    bool classic;
    int poll;
    Member *members[MEMBERS_MAX];
    int member_count;
    Group groups[GROUPS_MAX];
    int group_count;
    Measured measured;
} Load;

static Load load;

static void samples_print(const char *name, Samples *samples)
{
    if (samples->count > 0) {
        samples_sort(samples);
        printf(", \"%s\": {\"count\": %zu, \"failed\": %lu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": "
               "%.3f}",
               name, samples->count, (unsigned long)samples->failed, samples_quantile_ms(samples, 0.5),
               samples_quantile_ms(samples, 0.99), samples_quantile_ms(samples, 1));
    }
}

static void samples_forget(Samples *samples)
{
    samples->count = 0;
    samples->failed = 0;
}

static void measure_begin(void)
{
    samples_forget(&load.measured.heartbeats);
    samples_forget(&load.measured.commits);
    samples_forget(&load.measured.metadata);
}

static void answer(int64_t began)
{
    printf("{\"seconds\": %.3f", (double)(now_ns() - began) / 1e9);
    samples_print("heartbeats", &load.measured.heartbeats);
    samples_print("commits", &load.measured.commits);
    samples_print("metadata", &load.measured.metadata);
}

static void answer_end(void)
{
    printf("}\n");
    fflush(stdout);
}

static Member *member_new(Group *group, MemberState state)
{
    Member *member = calloc(1, sizeof(Member));
    int on = 1;
    if (!member || load.member_count == MEMBERS_MAX) {
        die("too many members");
    }
    member->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (member->fd < 0 || connect(member->fd, (struct sockaddr *)&load.agent, sizeof(load.agent)) != 0) {
        die("cannot connect: %s", strerror(errno));
    }
    setsockopt(member->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    struct epoll_event event = { .events = EPOLLIN, .data.ptr = member };
    epoll_ctl(load.poll, EPOLL_CTL_ADD, member->fd, &event);
    member->state = state;
    member->group = group;
    member->classic = load.classic;
    member->measured = &load.measured;
    if (!load.classic) {
        snprintf(member->id, sizeof(member->id), "member-%d-%d", getpid(), load.member_count);
    }
    if (group) {
        group->members++;
    }
    load.members[load.member_count++] = member;
    return member;
}

/* Reads what has come, asks for what is due; waits a little when nothing is. */
static void turn(bool with_input, bool *command)
{
    struct epoll_event events[EVENTS];
    int64_t now = now_ns();
    for (int i = 0; i < load.member_count; i++) {
        member_turn(load.members[i], now);
    }
    int count = epoll_wait(load.poll, events, EVENTS, TICK_MS);
    for (int i = 0; i < count; i++) {
        if (events[i].data.ptr) {
            member_received(events[i].data.ptr);
        } else if (with_input) {
            *command = true;
        }
    }
}

static void turn_for(double seconds)
{
    int64_t end = now_ns() + (int64_t)(seconds * 1e9);
    while (now_ns() < end) {
        turn(false, NULL);
    }
}

/* Everybody is in, in one generation, and together they have all partitions. */
static bool is_stable(const Group *group)
{
    int owned = 0, in = 0;
    for (int i = 0; i < load.member_count; i++) {
        const Member *member = load.members[i];
        if (member->group != group) {
            continue;
        }
        in += member->state == MEMBER_IN && member->generation == group->generation && !member->owned_is_news;
        owned += member->owned_count;
    }
    return in == group->members && owned == group->partitions;
}

/* How long after its first JoinGroup was answered (the delay had passed then) a classic group was stable, the
 * slowest one, and when the last group was answered. */
static void await_stable(int first_group, int64_t began)
{
    int64_t slowest = 0, last = began;
    for (int i = first_group; i < load.group_count; i++) {
        Group *group = &load.groups[i];
        while (!is_stable(group)) {
            if (now_ns() - began > PHASE_S_MAX * 1000000000LL) {
                die("%s has not all its %d partitions with its %d members", group->name, group->partitions,
                    group->members);
            }
            turn(false, NULL);
        }
        slowest =
            group->synced_ns - group->joined_ns > slowest ? group->synced_ns - group->joined_ns : slowest;
        last = group->joined_ns > last ? group->joined_ns : last;
    }
    answer(began);
    if (load.classic) {
        printf(", \"last_answered_s\": %.3f, \"after_answer_s\": %.3f", (double)(last - began) / 1e9,
               (double)slowest / 1e9);
    }
    answer_end();
}

static void join(int groups, int members, const char *topic, int partitions)
{
    int first = load.group_count;
    int64_t began = now_ns();
    measure_begin();
    for (int i = 0; i < groups; i++) {
        if (load.group_count == GROUPS_MAX) {
            die("too many groups");
        }
        Group *group = &load.groups[load.group_count++];
        snprintf(group->name, sizeof(group->name), "%s-%s%d", load.classic ? "classic" : "consumer", topic,
                 i);
        snprintf(group->topic, sizeof(group->topic), "%s%d", topic, i);
        group->partitions = partitions;
        for (int n = 0; n < members; n++) {
            member_new(group, MEMBER_OUT);
        }
    }
    await_stable(first, began);
}

/* How long it takes everybody to have partitions in the generation that has one more. */
static void add(int number)
{
    Group *group = &load.groups[number];
    int64_t began = now_ns();
    int others = load.group_count;
    measure_begin();
    member_new(group, MEMBER_OUT);
    load.group_count = number + 1;
    await_stable(number, began);
    load.group_count = others;
}

static void measure(double seconds)
{
    int64_t began = now_ns();
    turn_for(seconds);
    answer(began);
    answer_end();
}

static void metadata(double seconds)
{
    Member *probe = member_new(NULL, MEMBER_PROBE);
    turn_for(0.2);
    measure_begin();
    measure(seconds);
    probe->state = MEMBER_IDLE;
}

static void commit_as_fast_as_answered(double seconds)
{
    for (int i = 0; i < load.member_count; i++) {
        load.members[i]->leaves_no_rest = true;
        member_commit(load.members[i]);
    }
    measure(seconds);
    for (int i = 0; i < load.member_count; i++) {
        load.members[i]->leaves_no_rest = false;
    }
}

/* The members in turn; who has not been answered yet is passed over. */
static void commit_paced(double seconds, int rate)
{
    int64_t began = now_ns(), made = 0;
    while (now_ns() - began < (int64_t)(seconds * 1e9)) {
        int64_t due = (now_ns() - began) / 1000 * rate / 1000000;
        for (; made < due; made++) {
            member_commit(load.members[made % load.member_count]);
        }
        turn(false, NULL);
    }
    answer(began);
    answer_end();
}

static void commit(double seconds, int rate)
{
    measure_begin();
    if (rate > 0) {
        commit_paced(seconds, rate);
    } else {
        commit_as_fast_as_answered(seconds);
    }
    turn_for(1);
}

/* ApiVersions, version 0, of a client without a name: what every client asks first. */
static void idle(int connections)
{
    static const uint8_t versions[] = { 0, 0, 0, 10, 0, KAFKA_API_VERSIONS, 0, 0, 0, 0, 0, 0, 255, 255 };
    int64_t began = now_ns();
    measure_begin();
    for (int i = 0; i < connections; i++) {
        Member *member = member_new(NULL, MEMBER_IDLE);
        member->due_ns = INT64_MAX;
        member->asked[0] = (Asked){ KAFKA_API_VERSIONS, now_ns() };
        member->asked_count = 1;
        if (send(member->fd, versions, sizeof(versions), MSG_NOSIGNAL) != sizeof(versions)) {
            die("an idle connection cannot be used: %s", strerror(errno));
        }
        if (i % 100 == 0) {
            turn(false, NULL);
        }
    }
    turn_for(1);
    answer(began);
    answer_end();
}

static void obey(const char *line)
{
    int a, b, c;
    double seconds;
    char topic[40];
    if (sscanf(line, "join %d %d %39s %d", &a, &b, topic, &c) == 4) {
        join(a, b, topic, c);
    } else if (sscanf(line, "add %d", &a) == 1 && a < load.group_count) {
        add(a);
    } else if (sscanf(line, "metadata %lf", &seconds) == 1) {
        metadata(seconds);
    } else if (sscanf(line, "hold %lf", &seconds) == 1) {
        measure_begin();
        measure(seconds);
    } else if (sscanf(line, "commit %lf %d", &seconds, &a) == 2) {
        commit(seconds, a);
    } else if (sscanf(line, "idle %d", &a) == 1) {
        idle(a);
    } else {
        die("what is \"%s\"?", line);
    }
}

static void raise_files(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int count, char **arguments)
{
    char host[64];
    int port;
    char line[LINE_MAX_BYTES];
    if (count != 3 || sscanf(arguments[1], "%63[^:]:%d", host, &port) != 2) {
        die("usage: groups_load HOST:PORT classic|consumer");
    }
    raise_files();
    load.agent = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
    inet_pton(AF_INET, host, &load.agent.sin_addr);
    load.classic = strcmp(arguments[2], "classic") == 0;
    load.poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event input = { .events = EPOLLIN, .data.ptr = NULL };
    epoll_ctl(load.poll, EPOLL_CTL_ADD, STDIN_FILENO, &input);
    for (;;) {
        bool command = false;
        while (!command) {
            turn(true, &command);
        }
        if (!fgets(line, sizeof(line), stdin)) {
            return 0;
        }
        obey(line);
    }
}
