/* assign.c: which member of a group is to have which partition: the two server-side assignors of KIP-848, as
 * pure functions of who subscribes to what and who had what before. Members are numbers from 1 on, 0 is
 * nobody.
 *
 * uniform keeps what it can, gives what is free to the least loaded, then moves partitions from the most
 * loaded to the least loaded as long as that evens out anything. Taking from the top first makes it move no
 * more than balance needs. Where all subscribe to the same topics, loads then differ by one at most. Racks
 * are ignored. range gives each topic's partitions in runs, in the order of its members, so that partition n
 * of topics with as many partitions goes to one member. */
#include "compat.h"

#include <limits.h>

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "request_array.h"
#include "utils/array.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(streamhouse_group_assign);

enum { ASSIGN_PARTITIONS_MAX = 1000000, NOBODY = 0 };

/* One topic: its partitions and its subscriptions, as ranges of the arrays. */
typedef struct Topic {
    int first;
    int end;
    int subscribed_first;
    int subscribed_end;
} Topic;

typedef struct Assignment {
    int partition_count;
    int32 *owners; /* of each partition, in the order of the topics */
    Topic *topics;
    int topic_count;
    int *topic_of;           /* of a partition */
    const int32 *subscribed; /* members, topic by topic, each topic's sorted */
    int member_count;
    int *load; /* partitions of a member */
    int *list; /* first partition of a member, or -1 */
    int *next; /* next one of the same member */
} Assignment;

static bool topic_has_member(const Assignment *assignment, const Topic *topic, int32 member)
{
    int low = topic->subscribed_first;
    int high = topic->subscribed_end;
    while (low < high) {
        int middle = low + (high - low) / 2;
        if (assignment->subscribed[middle] < member) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < topic->subscribed_end && assignment->subscribed[low] == member;
}

/* The subscriber with the fewest partitions, the first of several; NOBODY when there is none. */
static int32 topic_least_loaded(const Assignment *assignment, const Topic *topic)
{
    int32 least = NOBODY;
    for (int i = topic->subscribed_first; i < topic->subscribed_end; i++) {
        int32 member = assignment->subscribed[i];
        if (least == NOBODY || assignment->load[member] < assignment->load[least]) {
            least = member;
        }
    }
    return least;
}

static void member_take(Assignment *assignment, int32 member, int partition)
{
    assignment->owners[partition] = member;
    assignment->next[partition] = assignment->list[member];
    assignment->list[member] = partition;
    assignment->load[member]++;
}

static void uniform_keep(Assignment *assignment)
{
    for (int i = assignment->partition_count - 1; i >= 0; i--) {
        int32 owner = assignment->owners[i];
        const Topic *topic = &assignment->topics[assignment->topic_of[i]];
        if (owner != NOBODY && topic_has_member(assignment, topic, owner)) {
            member_take(assignment, owner, i);
        } else {
            assignment->owners[i] = NOBODY;
        }
    }
}

static void uniform_fill(Assignment *assignment)
{
    for (int i = 0; i < assignment->partition_count; i++) {
        if (assignment->owners[i] == NOBODY) {
            int32 least = topic_least_loaded(assignment, &assignment->topics[assignment->topic_of[i]]);
            if (least != NOBODY) {
                member_take(assignment, least, i);
            }
        }
    }
}

/* Moves one partition of the member to somebody who has at least two less; false when nobody such wants any.
 */
static bool member_give(Assignment *assignment, int32 member)
{
    int tried = -1;
    for (int *link = &assignment->list[member]; *link >= 0; link = &assignment->next[*link]) {
        int partition = *link;
        if (assignment->topic_of[partition] == tried) {
            continue;
        }
        tried = assignment->topic_of[partition];
        int32 least = topic_least_loaded(assignment, &assignment->topics[tried]);
        if (assignment->load[least] + 2 <= assignment->load[member]) {
            *link = assignment->next[partition];
            assignment->load[member]--;
            member_take(assignment, least, partition);
            return true;
        }
    }
    return false;
}

static int most_loaded(const Assignment *assignment)
{
    int most = 0;
    for (int32 member = 1; member <= assignment->member_count; member++) {
        most = Max(most, assignment->load[member]);
    }
    return most;
}

/* Every move brings two loads nearer to each other, so this ends. */
static void uniform_balance(Assignment *assignment)
{
    bool moved = true;
    while (moved) {
        moved = false;
        for (int level = most_loaded(assignment); level >= 2; level--) {
            for (int32 member = 1; member <= assignment->member_count; member++) {
                if (assignment->load[member] == level) {
                    moved = member_give(assignment, member) || moved;
                }
            }
            CHECK_FOR_INTERRUPTS();
        }
    }
}

static void assign_uniform(Assignment *assignment)
{
    uniform_keep(assignment);
    uniform_fill(assignment);
    uniform_balance(assignment);
}

static void assign_range(Assignment *assignment)
{
    for (const Topic *topic = assignment->topics; topic < assignment->topics + assignment->topic_count;
         topic++) {
        int members = topic->subscribed_end - topic->subscribed_first;
        int partitions = topic->end - topic->first;
        for (int i = 0; i < partitions; i++) {
            int share = members > 0 ? partitions / members : 0;
            int larger =
                members > 0 ? partitions % members : 0; /* members that have one more, the first ones */
            int place = i < larger * (share + 1) ? i / (share + 1)
                                                 : larger + (i - larger * (share + 1)) / Max(share, 1);
            assignment->owners[topic->first + i] =
                members > 0 ? assignment->subscribed[topic->subscribed_first + place] : NOBODY;
        }
    }
}

static const struct {
    const char *name;
    void (*assign)(Assignment *assignment);
} assignors[] = { { "uniform", assign_uniform }, { "range", assign_range } };

/* Finds the topics in both arrays, which are sorted by topic id. */
static void assignment_find_topics(Assignment *assignment, const int32 *topic_ids,
                                   RequestArray subscribed_topics)
{
    const int32 *wanted = subscribed_topics.data;
    int subscription = 0;
    for (int i = 0; i < assignment->partition_count; i++) {
        if (i == 0 || topic_ids[i] != topic_ids[i - 1]) {
            Topic *topic = &assignment->topics[assignment->topic_count++];
            topic->first = i;
            while (subscription < subscribed_topics.count && wanted[subscription] < topic_ids[i]) {
                subscription++;
            }
            topic->subscribed_first = subscription;
            while (subscription < subscribed_topics.count && wanted[subscription] == topic_ids[i]) {
                subscription++;
            }
            topic->subscribed_end = subscription;
        }
        assignment->topics[assignment->topic_count - 1].end = i + 1;
        assignment->topic_of[i] = assignment->topic_count - 1;
    }
}

static void check_sorted(const int32 *ids, int count)
{
    for (int i = 1; i < count; i++) {
        if (ids[i] < ids[i - 1]) {
            ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("topic ids are not sorted"));
        }
    }
}

static void check_members(const int32 *members, int count, int32 least, int32 most)
{
    for (int i = 0; i < count; i++) {
        if (members[i] < least || members[i] > most) {
            ereport(ERROR, errcode(ERRCODE_INVALID_PARAMETER_VALUE),
                    errmsg("there is no member %d among %d", members[i], most));
        }
    }
}

static void assignment_open(Assignment *assignment, RequestArray topic_ids, RequestArray owners,
                            int member_count)
{
    size_t partitions = Max(topic_ids.count, 1);
    *assignment = (Assignment){ .partition_count = topic_ids.count, .member_count = member_count };
    assignment->owners = palloc(partitions * sizeof(int32));
    memcpy(assignment->owners, owners.data, owners.count * sizeof(int32));
    assignment->topics = palloc0(partitions * sizeof(Topic));
    assignment->topic_of = palloc(partitions * sizeof(int));
    assignment->next = palloc(partitions * sizeof(int));
    assignment->load = palloc0((member_count + 1) * sizeof(int));
    assignment->list = palloc((member_count + 1) * sizeof(int));
    memset(assignment->list, -1, (member_count + 1) * sizeof(int));
}

/* group_assign(assignor, members, topic_ids, owners, subscribed_topics, subscribed_members) */
Datum streamhouse_group_assign(PG_FUNCTION_ARGS)
{
    char *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
    int member_count = PG_GETARG_INT32(1);
    RequestArray topic_ids = request_array(fcinfo, 2, ASSIGN_PARTITIONS_MAX);
    RequestArray owners = request_array(fcinfo, 3, ASSIGN_PARTITIONS_MAX);
    RequestArray subscribed_topics = request_array(fcinfo, 4, INT_MAX);
    RequestArray subscribed_members = request_array(fcinfo, 5, INT_MAX);
    Assignment assignment;
    request_arrays_check(topic_ids, owners);
    request_arrays_check(subscribed_topics, subscribed_members);
    member_count = Min(Max(member_count, 0), ASSIGN_PARTITIONS_MAX);
    check_sorted(topic_ids.data, topic_ids.count);
    check_sorted(subscribed_topics.data, subscribed_topics.count);
    check_members(owners.data, owners.count, NOBODY, member_count);
    check_members(subscribed_members.data, subscribed_members.count, 1, member_count);
    assignment_open(&assignment, topic_ids, owners, member_count);
    assignment.subscribed = subscribed_members.data;
    assignment_find_topics(&assignment, topic_ids.data, subscribed_topics);
    for (size_t i = 0; i < lengthof(assignors); i++) {
        if (strcmp(assignors[i].name, name) == 0) {
            assignors[i].assign(&assignment);
            Datum *result = palloc(Max(topic_ids.count, 1) * sizeof(Datum));
            for (int p = 0; p < topic_ids.count; p++) {
                result[p] = Int32GetDatum(assignment.owners[p]);
            }
            PG_RETURN_ARRAYTYPE_P(
                construct_array(result, topic_ids.count, INT4OID, sizeof(int32), true, TYPALIGN_INT));
        }
    }
    ereport(ERROR, errcode(MAKE_SQLSTATE('S', 'H', '1', '1', '2')),
            errmsg("there is no assignor \"%s\"", name), errhint("The assignors are uniform and range."));
}
