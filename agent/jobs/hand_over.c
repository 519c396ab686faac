/* hand_over.c: at most one round at a time: the partitions that the brain names together. A tick of a few ms
 * runs while there is a round or something is parked. */
#include "agent/jobs/hand_over.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/brain/brain.h"
#include "agent/catalog/catalog.h"
#include "agent/clock.h"
#include "agent/jobs/lease.h"
#include "agent/journal.h"
#include "agent/log/log.h"
#include "agent/metrics.h"

enum {
    TICK_MS = 2,
    FINISH_MS = 40,     /* what is under way may take this long; then it is fenced, and sent again */
    TOLD_MS = 30,       /* after the answer, until all hear of it */
    PARKED_MS = 400,    /* a batch waits no longer */
    EXPECTED_MS = 1000, /* partitions of an agent may come here for so long after it was told */
    EXPECTED_AGENTS = 16,
    DEADLINE_MS = 2000,
    PAYLOAD_MAX = 8192, /* of a notification: PostgreSQL's own limit is below */
};

static const BrainStatement list_statement = {
    "hand_overs", "SELECT topic_id, partition, epoch FROM sh_lease_hand_overs($1)", 1, { BRAIN_INT4 }
};
static const BrainStatement give_statement = { "hand_over",
                                               "SELECT sh_lease_hand_over($1, $2, $3, $4)",
                                               4,
                                               { BRAIN_INT4, BRAIN_UUID, BRAIN_INT4S, BRAIN_INT4S } };

typedef enum RoundState {
    ROUND_NONE,
    ROUND_LISTING,   /* asked which partitions */
    ROUND_FINISHING, /* they take nothing new; what is under way goes on */
    ROUND_GIVING,    /* the brain was told */
    ROUND_TOLD       /* it has answered; soon everybody hears of it */
} RoundState;

struct HandOver {
    Agent *agent;
    uv_timer_t *timer;
    RoundState state;
    bool wanted; /* told again meanwhile */
    bool freed;  /* the last answer frees the rest */
    int64_t began_ms;
    int64_t until_ms;
    Partition **partitions; /* of the round; their topics are held */
    int32_t *numbers;       /* room for their topics' ids and their own */
    int32_t count;
    Parked *parked; /* in the order they came */
    Parked **parked_end;
    int32_t parked_count;
    struct {
        int32_t agent_id;
        int64_t until_ms;
    } expected[EXPECTED_AGENTS]; /* who was told to hand something over to this agent */
    int expected_next;
};

static void hand_over_list(HandOver *hand_over);

static void hand_over_tick(uv_timer_t *timer);

static void ticking_start(HandOver *hand_over)
{
    if (!uv_is_active((uv_handle_t *)hand_over->timer)) {
        uv_timer_start(hand_over->timer, hand_over_tick, TICK_MS, TICK_MS);
    }
}

static bool partition_holds(const HandOver *hand_over, const Partition *partition)
{
    return lease_holds(hand_over->agent->lease, partition);
}

static bool partition_is_expected(const HandOver *hand_over, const Partition *partition, int64_t now_ms)
{
    for (int i = 0; i < EXPECTED_AGENTS; i++) {
        if (hand_over->expected[i].agent_id == partition->leader &&
            now_ms < hand_over->expected[i].until_ms) {
            return true;
        }
    }
    return false;
}

static bool partition_is_changing(const HandOver *hand_over, const Partition *partition, int64_t now_ms)
{
    return partition_holds(hand_over, partition) ? partition->closing
                                                 : partition_is_expected(hand_over, partition, now_ms);
}

/* Resumes what need not wait any more, in order. What is resumed may be answered, and its memory go, at once.
 */
static void parked_look(HandOver *hand_over, bool all)
{
    int64_t now_ms = time_ms();
    Parked **at = &hand_over->parked;
    Parked *ready = NULL;
    Parked **ready_end = &ready;
    while (*at) {
        Parked *parked = *at;
        if (!all && now_ms < parked->until_ms && !parked->partition->topic->deleted &&
            partition_is_changing(hand_over, parked->partition, now_ms)) {
            at = &parked->next;
            continue;
        }
        *at = parked->next;
        parked->partition->parked--;
        parked->next = NULL;
        *ready_end = parked;
        ready_end = &parked->next;
    }
    hand_over->parked_end = at;
    while (ready) {
        Parked *parked = ready;
        Topic *topic = parked->partition->topic;
        ready = parked->next;
        metric_set(METRIC_HAND_OVER_PARKED, --hand_over->parked_count);
        parked->resume(parked);
        topic_release(topic);
    }
}

bool hand_over_park(HandOver *hand_over, Parked *parked, Partition *partition, void (*resume)(Parked *parked))
{
    int64_t now_ms = time_ms();
    if (!hand_over || hand_over->freed ||
        (partition->parked == 0 && !partition_is_changing(hand_over, partition, now_ms))) {
        return false;
    }
    *parked = (Parked){ .partition = partition, .until_ms = now_ms + PARKED_MS, .resume = resume };
    topic_hold(partition->topic);
    partition->parked++;
    *hand_over->parked_end = parked;
    hand_over->parked_end = &parked->next;
    ticking_start(hand_over);
    metric_set(METRIC_HAND_OVER_PARKED, ++hand_over->parked_count);
    metric_add(METRIC_HAND_OVER_PARKED_BATCHES, 1);
    return true;
}

static void round_end(HandOver *hand_over)
{
    int32_t kept = 0;
    for (int32_t i = 0; i < hand_over->count; i++) {
        Partition *partition = hand_over->partitions[i];
        kept += partition->leader == lease_agent_id(hand_over->agent->lease);
        partition->closing = false;
        topic_release(partition->topic);
    }
    if (hand_over->count > 0) {
        metric_add(METRIC_HAND_OVERS, hand_over->count - kept);
        metric_add(METRIC_HAND_OVERS_FAILED, kept);
        metric_observe(METRIC_HAND_OVER_DURATION, (double)(time_ms() - hand_over->began_ms) / 1000);
        journal(JOURNAL_INFO, "lease", "handed %d partitions over in %d ms", hand_over->count - kept,
                (int)(time_ms() - hand_over->began_ms));
    }
    free(hand_over->partitions);
    free(hand_over->numbers);
    hand_over->partitions = NULL;
    hand_over->numbers = NULL;
    hand_over->count = 0;
    hand_over->state = ROUND_NONE;
}

static bool round_is_finished(const HandOver *hand_over)
{
    for (int32_t i = 0; i < hand_over->count; i++) {
        if (hand_over->partitions[i]->appends || hand_over->partitions[i]->recompressions) {
            return false;
        }
    }
    return true;
}

/* All of them are known to be led by others. */
static bool round_is_over(const HandOver *hand_over)
{
    for (int32_t i = 0; i < hand_over->count; i++) {
        if (hand_over->partitions[i]->leader == lease_agent_id(hand_over->agent->lease)) {
            return false;
        }
    }
    return true;
}

/* An answer came; false when there is nobody to have it any more. */
static bool hand_over_alive(HandOver *hand_over)
{
    if (hand_over->freed) {
        free(hand_over);
        return false;
    }
    return true;
}

static void round_given(const BrainResult *result, void *argument)
{
    HandOver *hand_over = argument;
    if (!hand_over_alive(hand_over)) {
        return;
    }
    hand_over->state = ROUND_TOLD;
    if (!status_is_ok(&result->status)) {
        journal_seldom(JOURNAL_WARN, "lease", "partitions could not be handed over: %s", result->message);
    }
    hand_over->until_ms = time_ms() + TOLD_MS;
}

static void round_give(HandOver *hand_over)
{
    BrainParameters parameters;
    hand_over->state = ROUND_GIVING;
    for (int32_t i = 0; i < hand_over->count; i++) {
        hand_over->numbers[i] = hand_over->partitions[i]->topic->topic_id;
        hand_over->numbers[hand_over->count + i] = hand_over->partitions[i]->index;
    }
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(hand_over->agent->lease));
    brain_put_uuid(&parameters, (const uint8_t *)hand_over->agent->incarnation);
    brain_put_int4s(&parameters, hand_over->numbers, (size_t)hand_over->count);
    brain_put_int4s(&parameters, hand_over->numbers + hand_over->count, (size_t)hand_over->count);
    brain_send(
        hand_over->agent->brain, BRAIN_CONTROL,
        &(BrainQuery){ .statement = &give_statement, .parameters = &parameters, .deadline_ms = DEADLINE_MS },
        round_given, hand_over);
}

static void round_listed(const BrainResult *result, void *argument)
{
    HandOver *hand_over = argument;
    if (!hand_over_alive(hand_over)) {
        return;
    }
    hand_over->state = ROUND_NONE;
    if (!status_is_ok(&result->status) || brain_row_count(result) == 0) {
        return;
    }
    int rows = brain_row_count(result);
    hand_over->partitions = calloc((size_t)rows, sizeof(Partition *));
    hand_over->numbers = calloc(2 * (size_t)rows, sizeof(int32_t));
    for (int row = 0; hand_over->partitions && hand_over->numbers && row < rows; row++) {
        Topic *topic = catalog_topic_by_id(hand_over->agent->catalog, brain_int4(result, row, 0));
        Partition *partition = topic ? topic_partition(topic, brain_int4(result, row, 1)) : NULL;
        if (partition && partition->epoch == brain_int4(result, row, 2) &&
            partition_holds(hand_over, partition)) {
            partition->closing = true;
            topic_hold(topic);
            hand_over->partitions[hand_over->count++] = partition;
        }
    }
    hand_over->state = ROUND_FINISHING;
    hand_over->began_ms = time_ms();
    hand_over->until_ms = hand_over->began_ms + FINISH_MS;
    if (hand_over->count == 0) {
        round_end(hand_over);
    } else if (hand_over->agent->log) {
        log_flush(hand_over->agent->log);
    }
}

static void hand_over_list(HandOver *hand_over)
{
    BrainParameters parameters;
    if (hand_over->state != ROUND_NONE || !lease_is_valid(hand_over->agent->lease)) {
        hand_over->wanted = hand_over->state != ROUND_NONE;
        return;
    }
    ticking_start(hand_over);
    hand_over->wanted = false;
    hand_over->state = ROUND_LISTING;
    brain_parameters_init(&parameters);
    brain_put_int4(&parameters, lease_agent_id(hand_over->agent->lease));
    brain_send(
        hand_over->agent->brain, BRAIN_CONTROL,
        &(BrainQuery){ .statement = &list_statement, .parameters = &parameters, .deadline_ms = DEADLINE_MS },
        round_listed, hand_over);
}

static void hand_over_tick(uv_timer_t *timer)
{
    HandOver *hand_over = timer->data;
    int64_t now_ms = time_ms();
    if (hand_over->state == ROUND_FINISHING &&
        (now_ms >= hand_over->until_ms || round_is_finished(hand_over))) {
        round_give(hand_over);
    } else if (hand_over->state == ROUND_TOLD &&
               (now_ms >= hand_over->until_ms || round_is_over(hand_over))) {
        round_end(hand_over);
    }
    if (hand_over->state == ROUND_NONE && hand_over->wanted) {
        hand_over_list(hand_over);
    }
    if (hand_over->parked) {
        parked_look(hand_over, false);
    } else if (hand_over->state == ROUND_NONE) {
        uv_timer_stop(timer);
    }
}

static void hand_over_expect(HandOver *hand_over, int32_t holder)
{
    int at = hand_over->expected_next;
    hand_over->expected[at].agent_id = holder;
    hand_over->expected[at].until_ms = time_ms() + EXPECTED_MS;
    hand_over->expected_next = (at + 1) % EXPECTED_AGENTS;
}

/* Payload: who is to hand over, and to whom: "3>5 3>7". True when it is this agent. */
static bool hand_over_read(HandOver *hand_over, char *text)
{
    bool told = false;
    char *rest = text;
    int32_t own_id = lease_agent_id(hand_over->agent->lease);
    for (char *word = strtok_r(text, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
        int holder;
        int next;
        if (sscanf(word, "%d>%d", &holder, &next) != 2) {
            continue;
        }
        told = told || holder == own_id;
        if (next == own_id) {
            hand_over_expect(hand_over, holder);
        }
    }
    return told;
}

static void hand_over_notified(const char *channel, Slice payload, void *argument)
{
    HandOver *hand_over = argument;
    char text[PAYLOAD_MAX];
    size_t size = payload.size < sizeof(text) ? payload.size : sizeof(text) - 1;
    (void)channel;
    if (slice_is_null(payload)) {
        hand_over_list(hand_over);
        return;
    }
    memcpy(text, payload.data, size);
    text[size] = '\0';
    if (hand_over_read(hand_over, text)) {
        hand_over_list(hand_over);
    }
}

void hand_over_moved(HandOver *hand_over)
{
    if (hand_over && hand_over->parked) {
        parked_look(hand_over, false);
    }
}

HandOver *hand_over_new(Agent *agent)
{
    HandOver *hand_over = calloc(1, sizeof(HandOver));
    uv_timer_t *timer = malloc(sizeof(uv_timer_t));
    if (!hand_over || !timer) {
        free(hand_over);
        free(timer);
        return NULL;
    }
    hand_over->agent = agent;
    hand_over->timer = timer;
    hand_over->parked_end = &hand_over->parked;
    uv_timer_init(agent->loop, timer);
    timer->data = hand_over;
    Status status = brain_listen(agent->brain, "streamhouse_hand_over", hand_over_notified, hand_over);
    if (!status_is_ok(&status)) {
        journal(JOURNAL_ERROR, "lease", "cannot listen for hand-overs: %s", status.message);
    }
    return hand_over;
}

static void hand_over_timer_closed(uv_handle_t *handle)
{
    free(handle);
}

void hand_over_free(HandOver *hand_over)
{
    bool asking = hand_over->state == ROUND_LISTING || hand_over->state == ROUND_GIVING;
    uv_close((uv_handle_t *)hand_over->timer, hand_over_timer_closed);
    hand_over->freed = true;
    round_end(hand_over);
    parked_look(hand_over, true);
    if (!asking) {
        free(hand_over);
    }
}
