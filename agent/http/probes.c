/* probes.c: answers /health, /live, /ready and /metrics. Live is who answers at all: the loop turns. Ready is
 * who holds every condition. Health is for people and always 200 while the loop turns. */
#include "agent/http/probes.h"

#include <inttypes.h>

#include "agent/agent.h"
#include "agent/clock.h"
#include "agent/metrics.h"

enum { STATUS_NOT_READY = 503 };

static void json_begin(HttpReply *reply)
{
    reply->content_type = "application/json";
}

static void live_answer(void *context, HttpReply *reply)
{
    (void)context;
    json_begin(reply);
    http_reply_print(reply, "{\"live\":true}\n");
}

static void health_answer(void *context, HttpReply *reply)
{
    const Agent *agent = context;
    bool ready = readiness_holds(&agent->readiness);
    json_begin(reply);
    http_reply_print(reply, "{\"status\":\"%s\",\"ready\":%s,\"degraded\":%s,\"version\":\"%s\",\"agent\":",
                     agent_state_name(agent->state), ready ? "true" : "false",
                     readiness_is_degraded(&agent->readiness) ? "true" : "false", STREAMHOUSE_VERSION);
    http_reply_json_text(reply, agent->settings.agent_name);
    http_reply_print(reply, ",\"uptime_seconds\":%" PRId64 "}\n", (time_ms() - agent->started_ms) / 1000);
}

static void ready_answer(void *context, HttpReply *reply)
{
    const Agent *agent = context;
    bool ready = readiness_holds(&agent->readiness);
    json_begin(reply);
    reply->status = ready ? reply->status : STATUS_NOT_READY;
    http_reply_print(reply, "{\"ready\":%s,\"degraded\":%s,\"conditions\":[", ready ? "true" : "false",
                     readiness_is_degraded(&agent->readiness) ? "true" : "false");
    for (size_t i = 0; i < agent->readiness.count; i++) {
        const Condition *condition = &agent->readiness.conditions[i];
        http_reply_print(reply, "%s{\"name\":\"%s\",\"ready\":%s", i ? "," : "", condition->name,
                         condition->holds ? "true" : "false");
        if (condition->degraded) {
            http_reply_print(reply, ",\"degraded\":true");
        }
        if (!condition->holds || condition->degraded) {
            http_reply_print(reply, ",\"reason\":");
            http_reply_json_text(reply, condition->reason);
        }
        http_reply_print(reply, "}");
    }
    http_reply_print(reply, "]}\n");
}

static void metrics_answer(void *context, HttpReply *reply)
{
    const Agent *agent = context;
    reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
    metric_set(METRIC_AGENT_READY, readiness_holds(&agent->readiness));
    metrics_write(&reply->body);
}

const HttpRoute probe_routes[] = {
    { "/health", "what state the agent is in, always 200", health_answer },
    { "/live", "200 while the agent turns", live_answer },
    { "/ready", "200 when it serves, 503 and why when not", ready_answer },
    { "/metrics", "metrics in Prometheus' text format", metrics_answer },
    { NULL, NULL, NULL },
};
