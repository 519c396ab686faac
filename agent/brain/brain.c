/* brain.c: all lines together: what is sent goes to a line's bounded queue and leaves from the loop,
 * never from the caller's stack; one timer watches all deadlines. */
#include "agent/brain/brain.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/brain/link.h"
#include "agent/clock.h"
#include "agent/journal.h"
#include "agent/metrics.h"

enum {
    MS_PER_SECOND = 1000,
    SWEEP_MS = 50,
    BRAIN_TIMERS = 2,
    CHANNEL_NAME_MAX = 63,
    DESCRIPTION_MAX = 256,
    PIPELINE_SINGLE = 1
};

static const BrainOptions default_options = {
    .connect_timeout_ms = 3000,
    .deadline_ms = 30000,
    .reconnect_base_ms = 100,
    .reconnect_max_ms = 5000,
    .queue_queries_max = 4096,
    .queue_bytes_max = 64 << 20,
    .pipeline_queries_max = 64,
};

static const bool line_is_pipelined[BRAIN_LINE_COUNT] = {
    [BRAIN_COMMIT] = true, [BRAIN_READ] = true, [BRAIN_GROUPS] = true
};

typedef struct Channel {
    Brain *brain;
    const char *name;
    char sql[CHANNEL_NAME_MAX + 16];
    char label[CHANNEL_NAME_MAX + 16]; /* statements are prepared under their names */
    BrainStatement statement;
    BrainNotified callback;
    void *arg;
} Channel;

struct Brain {
    uv_loop_t *loop;
    BrainOptions options; /* conninfo is ours */
    Primary primary;
    Link links[BRAIN_LINE_COUNT];
    CallList refused; /* fail at the next turn of the loop */
    uv_timer_t soon;
    uv_timer_t sweep;
    Channel channels[BRAIN_CHANNELS_MAX];
    int channel_count;
    bool ready;
    int64_t away_since_ms; /* while not ready */
    int64_t away_ms;       /* in all, before that */
    void (*ready_changed)(Brain *brain, bool ready, void *arg);
    void *ready_arg;
    void (*followed)(void *arg);
    void *followed_arg;
    bool closing;
    int handles; /* open ones */
    void (*closed)(void *arg);
    void *closed_arg;
    char description[DESCRIPTION_MAX];
};

const BrainOptions *brain_options(const Brain *brain)
{
    return &brain->options;
}

uv_loop_t *brain_loop(const Brain *brain)
{
    return brain->loop;
}

Primary *brain_primary(Brain *brain)
{
    return &brain->primary;
}

int64_t brain_away_ms(const Brain *brain)
{
    return brain->ready ? 0 : time_ms() - brain->away_since_ms;
}

static double brain_away_seconds(void *brain)
{
    return (double)brain_away_ms(brain) / MS_PER_SECOND;
}

static double brain_away_seconds_total(void *context)
{
    const Brain *brain = context;
    return (double)(brain->away_ms + brain_away_ms(brain)) / MS_PER_SECOND;
}

const char *brain_describe(const Brain *brain)
{
    return brain->description;
}

static bool brain_has_calls(const Brain *brain)
{
    for (int i = 0; i < BRAIN_LINE_COUNT; i++) {
        if (brain->links[i].queued.first || brain->links[i].sent.first) {
            return true;
        }
    }
    return false;
}

static void brain_swept(uv_timer_t *timer)
{
    Brain *brain = timer->data;
    int64_t now_ms = time_ms();
    for (int i = 0; i < BRAIN_LINE_COUNT && !brain->closing; i++) {
        Link *link = &brain->links[i];
        link_sweep(link, now_ms);
        metric_set(METRIC_BRAIN_PENDING_COMMIT + i, link->queued.count + link->sent.count);
    }
    if (!brain_has_calls(brain)) {
        uv_timer_stop(timer);
    }
}

static void brain_deliver_refused(Brain *brain)
{
    CallList refused = brain->refused;
    brain->refused = (CallList){ 0 };
    for (BrainCall *call = call_take(&refused); call; call = call_take(&refused)) {
        Status refusal = call->refusal;
        call_fail(call, refusal);
    }
}

static void brain_timer_closed(uv_handle_t *handle)
{
    brain_handle_closed(handle->data);
}

static void brain_shut(Brain *brain)
{
    for (int i = 0; i < BRAIN_LINE_COUNT; i++) {
        if (brain->links[i].state != LINK_CLOSED) {
            link_close(&brain->links[i]);
        }
    }
    brain_deliver_refused(brain);
    if (!brain->refused.first && !uv_is_closing((uv_handle_t *)&brain->soon)) {
        uv_close((uv_handle_t *)&brain->sweep, brain_timer_closed);
        uv_close((uv_handle_t *)&brain->soon, brain_timer_closed);
    }
}

/* The one place from which queries leave and refusals are told. */
static void brain_turned(uv_timer_t *timer)
{
    Brain *brain = timer->data;
    if (!brain->closing) {
        brain_deliver_refused(brain);
    }
    for (int i = 0; i < BRAIN_LINE_COUNT && !brain->closing; i++) {
        link_pump(&brain->links[i]);
    }
    if (brain->closing) {
        brain_shut(brain);
    }
}

static void brain_soon(Brain *brain)
{
    if (!uv_is_active((uv_handle_t *)&brain->soon)) {
        uv_timer_start(&brain->soon, brain_turned, 0, 0);
    }
}

static Status brain_admit(const Brain *brain, const Link *link, const BrainCall *call)
{
    const BrainParameters *parameters = &call->parameters;
    const BrainOptions *options = &brain->options;
    const char *name = call->statement->name;
    if (brain->closing) {
        return status_error(STATUS_CANCELLED, "%s: the agent is stopping", name);
    }
    if (parameters->failed || parameters->count != call->statement->parameter_count) {
        return status_error(STATUS_INTERNAL, "%s: %d parameters where %d belong, or memory is short", name,
                            parameters->count, call->statement->parameter_count);
    }
    if (link->queued.count + link->sent.count >= options->queue_queries_max ||
        parameters->bytes.used > options->queue_bytes_max - link->bytes) {
        return status_error(STATUS_LIMIT, "%s: the %s line's queue is full (%d queries, %zu bytes)", name,
                            link_name(link), link->queued.count + link->sent.count, link->bytes);
    }
    return status_ok();
}

void brain_send(Brain *brain, BrainLine line, const BrainQuery *query, BrainCallback callback, void *arg)
{
    Link *link = &brain->links[line];
    BrainCall *call = calloc(1, sizeof(BrainCall));
    if (!call) {
        abort(); /* a query that vanished would hang its caller */
    }
    brain_parameters_init(&call->parameters);
    if (query->parameters) {
        call->parameters = *query->parameters;
        brain_parameters_init(query->parameters);
    }
    call->statement = query->statement;
    call->callback = callback;
    call->arg = arg;
    call->started_ns = time_ns();
    call->deadline_ms =
        time_ms() + (query->deadline_ms > 0 ? query->deadline_ms : brain->options.deadline_ms);
    call->refusal = brain_admit(brain, link, call);
    if (status_is_ok(&call->refusal)) {
        link->bytes += call->parameters.bytes.used;
        call_append(&link->queued, call);
        if (!uv_is_active((uv_handle_t *)&brain->sweep)) {
            uv_timer_start(&brain->sweep, brain_swept, SWEEP_MS, SWEEP_MS);
        }
    } else {
        call_append(&brain->refused, call);
    }
    brain_soon(brain);
}

void brain_notify(Brain *brain, const char *channel, Slice payload)
{
    for (int i = 0; i < brain->channel_count && !brain->closing; i++) {
        if (strcmp(brain->channels[i].name, channel) == 0) {
            brain->channels[i].callback(brain->channels[i].name, payload, brain->channels[i].arg);
        }
    }
}

/* Listening now, but whatever was notified until now was missed. */
static void channel_listens(const BrainResult *result, void *arg)
{
    Channel *channel = arg;
    Link *link = &channel->brain->links[BRAIN_CONTROL];
    if (channel->brain->closing || link->state != LINK_READY) {
        return;
    }
    if (status_is_ok(&result->status)) {
        channel->callback(channel->name, SLICE_NULL, channel->arg);
    } else {
        link_lose(link, "LISTEN %s failed: %s", channel->name, result->message);
    }
}

static void channel_listen(Channel *channel)
{
    Link *link = &channel->brain->links[BRAIN_CONTROL];
    if (link->state == LINK_READY && !link_push(link, &channel->statement, channel_listens, channel)) {
        link_lose(link, "memory is short");
    }
}

/* The name goes into SQL text, so nothing but plain identifiers. */
static bool channel_name_is_plain(const char *name)
{
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz_0123456789");
    return length > 0 && length <= CHANNEL_NAME_MAX && name[length] == '\0' &&
           !isdigit((unsigned char)name[0]);
}

Status brain_listen(Brain *brain, const char *channel, BrainNotified callback, void *arg)
{
    if (!channel_name_is_plain(channel)) {
        return status_error(STATUS_INVALID, "\"%s\" is not a channel name of a-z, 0-9 and _", channel);
    }
    if (brain->channel_count == BRAIN_CHANNELS_MAX) {
        return status_error(STATUS_LIMIT, "more than %d channels", BRAIN_CHANNELS_MAX);
    }
    Channel *added = &brain->channels[brain->channel_count++];
    *added = (Channel){ .brain = brain, .name = channel, .callback = callback, .arg = arg };
    snprintf(added->sql, sizeof(added->sql), "listen %s", channel);
    snprintf(added->label, sizeof(added->label), "listen_%s", channel);
    added->statement = (BrainStatement){ .name = added->label, .sql = added->sql };
    channel_listen(added);
    return status_ok();
}

bool brain_is_ready(const Brain *brain, const char **reason)
{
    const char *missing = "";
    for (int i = BRAIN_LINE_COUNT - 1; i >= 0; i--) {
        if (brain->links[i].state != LINK_READY) {
            missing = brain->links[i].reason[0] ? brain->links[i].reason : "connecting to PostgreSQL";
        }
    }
    if (reason) {
        *reason = missing;
    }
    return missing[0] == '\0';
}

void brain_on_ready(Brain *brain, void (*changed)(Brain *brain, bool ready, void *arg), void *arg)
{
    brain->ready_changed = changed;
    brain->ready_arg = arg;
}

void brain_on_failover(Brain *brain, void (*followed)(void *arg), void *arg)
{
    brain->followed = followed;
    brain->followed_arg = arg;
}

static void brain_describe_link(Brain *brain, const Link *link)
{
    snprintf(brain->description, sizeof(brain->description), "postgresql at %s:%s, database %s, user %s",
             PQhost(link->connection), PQport(link->connection), PQdb(link->connection),
             PQuser(link->connection));
}

static int brain_ready_links(const Brain *brain)
{
    int count = 0;
    for (int i = 0; i < BRAIN_LINE_COUNT; i++) {
        count += brain->links[i].state == LINK_READY;
    }
    return count;
}

bool brain_may_connect(const Brain *brain, const Link *link)
{
    return link->line == BRAIN_CONTROL || brain_ready_links(brain) > 0;
}

/* What is sent to a server that another one has replaced would wait for its deadline, in vain. */
static void brain_leave_outdated(Brain *brain, const char *why)
{
    for (int i = 0; i < BRAIN_LINE_COUNT && !brain->closing; i++) {
        Link *link = &brain->links[i];
        if (link->timeline != 0 && link->timeline < brain->primary.timeline) {
            link_lose(link, "%s", why);
        }
    }
}

bool brain_meet(Brain *brain, Link *link, int32_t timeline)
{
    char why[CHANNEL_NAME_MAX * 2];
    int32_t before = brain->primary.timeline;
    switch (primary_meet(&brain->primary, timeline)) {
    case PRIMARY_OUTDATED:
        metric_add(METRIC_BRAIN_OUTDATED, 1);
        link_lose(link, "%s:%s is an outdated primary: its timeline is %d, and %d was seen already",
                  PQhost(link->connection), PQport(link->connection), timeline, before);
        return false;
    case PRIMARY_PROMOTED:
        metric_add(METRIC_BRAIN_FAILOVERS, 1);
        journal(JOURNAL_WARN, "brain", "PostgreSQL has failed over: %s:%s is the primary of timeline %d",
                PQhost(link->connection), PQport(link->connection), timeline);
        link->timeline = timeline;
        snprintf(why, sizeof(why), "another server was promoted, to timeline %d", timeline);
        brain_leave_outdated(brain, why);
        if (brain->followed && !brain->closing) {
            brain->followed(brain->followed_arg);
        }
        return link->state == LINK_GREETING;
    default:
        link->timeline = timeline;
        return true;
    }
}

static void brain_link_came(Brain *brain, Link *link)
{
    brain_describe_link(brain, link);
    for (int i = 0; i < BRAIN_LINE_COUNT && brain_ready_links(brain) == 1; i++) {
        link_hurry(&brain->links[i]);
    }
}

static void brain_turn_ready(Brain *brain, bool ready)
{
    if (ready) {
        brain->away_ms += brain_away_ms(brain);
        journal(JOURNAL_INFO, "brain", "connected to %s", brain->description);
    } else {
        brain->away_since_ms = time_ms();
    }
    brain->ready = ready;
}

void brain_link_changed(Brain *brain, Link *link)
{
    bool ready = brain_is_ready(brain, NULL);
    metric_set(METRIC_BRAIN_CONNECTED_COMMIT + link->line, link->state == LINK_READY);
    if (link->state == LINK_READY) {
        brain_link_came(brain, link);
    } else if (link->state == LINK_WAITING) {
        link->timeline = 0;
    }
    if (!brain->closing && (ready != brain->ready || link->state == LINK_WAITING)) {
        if (ready != brain->ready) {
            brain_turn_ready(brain, ready);
        }
        if (brain->ready_changed) {
            brain->ready_changed(brain, ready, brain->ready_arg);
        }
    }
    if (link->line == BRAIN_CONTROL && link->state == LINK_READY) {
        for (int i = 0; i < brain->channel_count; i++) {
            channel_listen(&brain->channels[i]);
        }
    }
}

static void brain_free(Brain *brain)
{
    metric_from(METRIC_BRAIN_AWAY, NULL, NULL);
    metric_from(METRIC_BRAIN_AWAY_TOTAL, NULL, NULL);
    primary_free(&brain->primary);
    free((char *)brain->options.conninfo);
    free(brain);
}

void brain_handle_closed(Brain *brain)
{
    if (--brain->handles > 0) {
        return;
    }
    void (*closed)(void *) = brain->closed;
    void *arg = brain->closed_arg;
    brain_free(brain);
    if (closed) {
        closed(arg);
    }
}

/* Checks that libpq understands the string, takes note of what must not be logged, and fills in the defaults.
 * libpq's own message is not passed on: it quotes the string. */
static Status brain_read_conninfo(Brain *brain)
{
    PQconninfoOption *options = PQconninfoParse(brain->options.conninfo, NULL);
    if (!options) {
        return status_error(STATUS_INVALID,
                            "the PostgreSQL connection string cannot be read; it has to be "
                            "\"host=… dbname=… user=…\" or postgresql://user@host:port/database");
    }
    for (const PQconninfoOption *option = options; option->keyword; option++) {
        if (!option->val) {
            continue;
        }
        if (strcmp(option->keyword, "password") == 0 || strcmp(option->keyword, "sslpassword") == 0) {
            journal_keep_secret(option->val);
        } else if (strcmp(option->keyword, "connect_timeout") == 0 && strtol(option->val, NULL, 10) > 0) {
            brain->options.connect_timeout_ms = (int)(strtol(option->val, NULL, 10) % 3600) * 1000;
        }
    }
    bool taken = primary_init(&brain->primary, options);
    PQconninfoFree(options);
    return taken ? status_ok() : status_error(STATUS_LIMIT, "memory is short");
}

#define OPTION_OR_DEFAULT(name)                                                                              \
    (brain->options.name = options->name > 0 ? options->name : default_options.name)

static void brain_take_options(Brain *brain, const BrainOptions *options)
{
    OPTION_OR_DEFAULT(connect_timeout_ms);
    OPTION_OR_DEFAULT(deadline_ms);
    OPTION_OR_DEFAULT(reconnect_base_ms);
    OPTION_OR_DEFAULT(reconnect_max_ms);
    OPTION_OR_DEFAULT(queue_queries_max);
    OPTION_OR_DEFAULT(queue_bytes_max);
    OPTION_OR_DEFAULT(pipeline_queries_max);
    brain->options.conninfo = strdup(options->conninfo ? options->conninfo : "");
}

static void brain_start(Brain *brain)
{
    brain->away_since_ms = time_ms();
    metric_from(METRIC_BRAIN_AWAY, brain_away_seconds, brain);
    metric_from(METRIC_BRAIN_AWAY_TOTAL, brain_away_seconds_total, brain);
    uv_timer_init(brain->loop, &brain->soon);
    uv_timer_init(brain->loop, &brain->sweep);
    brain->soon.data = brain;
    brain->sweep.data = brain;
    brain->handles = BRAIN_TIMERS + BRAIN_LINE_COUNT;
    for (int i = 0; i < BRAIN_LINE_COUNT; i++) {
        link_init(&brain->links[i], brain, i,
                  line_is_pipelined[i] ? brain->options.pipeline_queries_max : PIPELINE_SINGLE);
    }
    for (int i = 0; i < BRAIN_LINE_COUNT; i++) {
        link_connect(&brain->links[i]);
    }
}

Status brain_open(uv_loop_t *loop, const BrainOptions *options, Brain **opened)
{
    Brain *brain = calloc(1, sizeof(Brain));
    if (!brain) {
        return status_error(STATUS_LIMIT, "memory is short");
    }
    brain->loop = loop;
    snprintf(brain->description, sizeof(brain->description), "postgresql, not connected yet");
    brain_take_options(brain, options);
    Status status =
        brain->options.conninfo ? brain_read_conninfo(brain) : status_error(STATUS_LIMIT, "memory is short");
    if (!status_is_ok(&status)) {
        brain_free(brain);
        return status;
    }
    brain_start(brain);
    *opened = brain;
    return status;
}

void brain_close(Brain *brain, void (*closed)(void *arg), void *arg)
{
    assert(!brain->closing);
    brain->closing = true;
    brain->closed = closed;
    brain->closed_arg = arg;
    brain_soon(brain);
}
