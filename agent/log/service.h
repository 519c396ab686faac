/* service.h: the log inside the agent: its backend is the brain and the store, its clock a timer of the loop.
 */
#ifndef STREAMHOUSE_LOG_SERVICE_H
#define STREAMHOUSE_LOG_SERVICE_H

#include "agent/agent.h"
#include "agent/log/log.h"

typedef struct LogService LogService;

/* Also sets agent->log. */
LogService *log_service_new(Agent *agent);
void log_service_reload(LogService *service);
/* Seals what is open and calls done, once, when no batch waits for an answer. */
void log_service_drain(LogService *service, void (*done)(void *argument), void *argument);
/* Starts nothing any more; callbacks under way may still come. */
void log_service_stop(LogService *service);
/* When brain and store are closed. Batches without an answer get one: that they were not committed. */
void log_service_free(LogService *service);

#endif
