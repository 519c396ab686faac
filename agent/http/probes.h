/* probes.h: what the agent says of itself over HTTP: /health, /live, /ready and /metrics. Their context is
 * the Agent. */
#ifndef STREAMHOUSE_AGENT_HTTP_PROBES_H
#define STREAMHOUSE_AGENT_HTTP_PROBES_H

#include "agent/http/server.h"

extern const HttpRoute probe_routes[];

#endif
