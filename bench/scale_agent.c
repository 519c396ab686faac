/* scale_agent.c: see scale_agent.h. The statements are those of agent/jobs/lease.c, agent/jobs/watch.c and
 * agent/log/service.c. */
#include "bench/scale_agent.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/commit_row.h"

enum {
    TTL_MS = 300000,
    WATCH_WAIT_MS = 20000,
    BATCH_BYTES = 1000,
    BATCH_RECORDS = 10,
    KEYS_LOW = 128,
    ARRAY_HEAD = 20
};

/* ---- Heartbeats ---- */

/* Elements of an int4[] in its binary form; 0 for null. */
static int array_count(const PGresult *result, int column)
{
    uint32_t count;
    if (PQgetlength(result, 0, column) < ARRAY_HEAD) {
        return 0;
    }
    memcpy(&count, PQgetvalue(result, 0, column) + 12, sizeof(count));
    return (int)be32toh(count);
}

static int32_t array_int4(const PGresult *result, int column, int at)
{
    uint32_t number;
    memcpy(&number, PQgetvalue(result, 0, column) + ARRAY_HEAD + 8 * at + 4, sizeof(number));
    return (int32_t)be32toh(number);
}

/* Sequences begin anew: the producers are of another epoch then, see commit_rows(). */
static void agent_lead(Agent *agent, const PGresult *result)
{
    agent->led_count = array_count(result, 3);
    agent->led_next = 0;
    agent->led = realloc(agent->led, (size_t)(agent->led_count + 1) * sizeof(Led));
    if (!agent->led) {
        die("out of memory");
    }
    for (int i = 0; i < agent->led_count; i++) {
        agent->led[i] = (Led){ .topic_id = array_int4(result, 3, i),
                               .partition = array_int4(result, 4, i),
                               .epoch = array_int4(result, 5, i) };
    }
}

static void heartbeat_answered(Line *line, const PGresult *result, int64_t took_ns, int64_t tag)
{
    Agent *agent = line->owner;
    (void)tag;
    samples_add(&agent->scale->heartbeats, took_ns);
    agent->id = line_int4(result, 0, 0);
    agent->lease_version = line_int8(result, 0, 1);
    if (PQgetvalue(result, 0, 2)[0]) {
        agent_lead(agent, result);
    }
}

/* Not all agents with the same beat. */
static bool agent_reports(Agent *agent)
{
    return (agent->number + agent->beats++) % HEARTBEATS_A_REPORT == 0;
}

static const char report[] =
    "{\"produce_bytes\":1234567890,\"produce_batches\":1234567,\"fetch_bytes\":1234567890,"
    "\"flushes_inline\":12345,\"flushes_object\":12345,\"commit_p99_ms\":12.345,"
    "\"connections\":100,\"memory_bytes\":123456789}";

static void agent_beat(Agent *agent)
{
    char name[32], incarnation[40];
    LineValues values = { 0 };
    snprintf(name, sizeof(name), "simulated-%d", agent->number);
    snprintf(incarnation, sizeof(incarnation), "00000000-0000-4000-8000-%012d", agent->number);
    values_text(&values, name);
    values_text(&values, incarnation);
    values_text(&values, "127.0.0.1");
    values_int4(&values, 9092);
    values_text(&values, "127.0.0.1");
    values_int4(&values, 8080);
    values_text(&values, "");
    values_text(&values, "simulated");
    values_int4(&values, TTL_MS);
    values_int8(&values, agent->lease_version);
    values_text(&values, agent_reports(agent) ? report : NULL);
    line_send(agent->control, "heartbeat", &values, heartbeat_answered, 0);
}

/* ---- Watches ---- */

static void watch_answered(Line *line, const PGresult *result, int64_t took_ns, int64_t tag)
{
    Agent *agent = line->owner;
    (void)took_ns;
    (void)tag;
    agent->scale->watches++;
    agent->scale->moves += array_count(result, 1);
    agent->cursor = line_int8(result, 0, 0);
}

static void agent_watch(Agent *agent)
{
    LineValues values = { 0 };
    values_int8(&values, agent->cursor);
    values_int4(&values, agent->cursor == 0 ? 0 : WATCH_WAIT_MS);
    line_send(agent->watch, "watch", &values, watch_answered, 0);
}

void agent_open(Scale *scale, int number)
{
    Agent *agent = &scale->agents[number];
    *agent = (Agent){ .scale = scale, .number = number, .lease_version = -1 };
    agent->control = line_open(scale->conninfo, scale->poll, false, agent);
    line_prepare(agent->control, "heartbeat",
                 "SELECT agent_id, lease_version, changed, topic_ids, partitions, epochs "
                 "FROM sh_agent_heartbeat($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)");
    agent->watch = line_open(scale->conninfo, scale->poll, false, agent);
    line_prepare(agent->watch, "watch", "CALL sh_watch($1, $2, NULL, NULL, NULL)");
}

void agent_turn(Agent *agent, int64_t now)
{
    if (now >= agent->due_ns && !line_is_full(agent->control)) {
        agent->due_ns =
            now - agent->due_ns > HEARTBEAT_NS ? now + HEARTBEAT_NS : agent->due_ns + HEARTBEAT_NS;
        agent_beat(agent);
    }
    if (!line_is_full(agent->watch)) {
        agent_watch(agent);
    }
}

/* ---- Commits ---- */

void agent_prepare_commits(Agent *agent)
{
    if (agent->committing) {
        return;
    }
    agent->committing = line_open(agent->scale->conninfo, agent->scale->poll, true, agent);
    line_prepare(agent->committing, "reserve", "SELECT object_id, key FROM sh_reserve_objects($1, $2, $3)");
    line_prepare(agent->committing, "commit",
                 "SELECT batch, status::text, error_code, base_offset, leader_epoch, log_start_offset "
                 "FROM sh_commit_object($1, $2, $3, $4, $5)");
}

static void reserve_answered(Line *line, const PGresult *result, int64_t took_ns, int64_t tag)
{
    Agent *agent = line->owner;
    (void)took_ns;
    (void)tag;
    agent->reserving = false;
    for (int row = 0; row < PQntuples(result) && agent->key_count < KEYS_MAX; row++) {
        agent->keys[agent->key_count++] = line_int8(result, row, 0);
    }
}

static void agent_reserve(Agent *agent)
{
    LineValues values = { 0 };
    values_int4(&values, agent->id);
    values_int4(&values, KEYS_MAX - KEYS_LOW);
    values_int8(&values, 3600000);
    agent->reserving = true;
    line_send(agent->committing, "reserve", &values, reserve_answered, 0);
}

static void commit_answered(Line *line, const PGresult *result, int64_t took_ns, int64_t rows)
{
    Agent *agent = line->owner;
    samples_add(&agent->scale->commits, took_ns);
    if (PQntuples(result) != rows) {
        die("a commit of %ld batches got %d answers", (long)rows, PQntuples(result));
    }
    for (int row = 0; row < PQntuples(result); row++) {
        if (strcmp(PQgetvalue(result, row, 1), "committed") != 0) {
            die("a batch was not committed: %s", PQgetvalue(result, row, 1));
        }
    }
}

/* Each partition has a producer of its own, another one under another lease epoch and in another run. */
static void commit_row(char *out, int ordinal, Led *led)
{
    int64_t run = (getpid() & 0x7FFF) * 64 + led->epoch;
    int64_t producer = (run << 36) | ((int64_t)led->topic_id << 20) | led->partition;
    uint32_t words[] = { htobe32((uint32_t)ordinal), htobe32((uint32_t)led->topic_id),
                         htobe32((uint32_t)led->partition), htobe32((uint32_t)led->epoch) };
    uint64_t start = htobe64((uint64_t)ordinal * BATCH_BYTES), timestamp = htobe64(1700000000000),
             id = htobe64((uint64_t)producer);
    uint32_t sizes[] = { htobe32(BATCH_BYTES), htobe32(BATCH_RECORDS) },
             sequence = htobe32((uint32_t)led->sequence);
    memset(out, 0, COMMIT_ROW_SIZE);
    memcpy(out, words, 16);
    memcpy(out + 16, &start, 8);
    memcpy(out + 24, sizes, 8);
    memcpy(out + 32, &timestamp, 8);
    memcpy(out + 40, &timestamp, 8);
    memcpy(out + 48, &id, 8);
    memcpy(out + 60, &sequence, 4);
    led->sequence = (led->sequence + BATCH_RECORDS) & INT32_MAX;
}

bool agent_commit(Agent *agent, int rows, int depth)
{
    static char packed[ROWS_MAX * COMMIT_ROW_SIZE];
    LineValues values = { 0 };
    if (agent->key_count < KEYS_LOW && !agent->reserving && !line_is_full(agent->committing)) {
        agent_reserve(agent);
    }
    if (agent->committing->count >= depth || agent->key_count == 0 || agent->led_count == 0) {
        return false;
    }
    rows = rows < agent->led_count ? rows : agent->led_count;
    for (int i = 0; i < rows; i++) {
        commit_row(packed + (size_t)i * COMMIT_ROW_SIZE, i,
                   &agent->led[agent->led_next++ % agent->led_count]);
    }
    agent->led_next %= agent->led_count;
    values_int4(&values, agent->id);
    values_int8(&values, agent->keys[--agent->key_count]);
    values_int8(&values, (int64_t)rows * BATCH_BYTES);
    values_bytes(&values, packed, (size_t)rows * COMMIT_ROW_SIZE);
    values_int4(&values, 0);
    line_send(agent->committing, "commit", &values, commit_answered, rows);
    return true;
}
