/* store_metrics.h: shows the store's counters by /metrics. */
#ifndef STREAMHOUSE_STORE_METRICS_H
#define STREAMHOUSE_STORE_METRICS_H

#include "agent/agent.h"

/* From now on, until store_metrics_stop(), each scrape reads agent->store's counters. */
void store_metrics_start(Agent *agent);
void store_metrics_stop(Agent *agent);

#endif
