/* producer.h: idempotent Kafka producers: at most five requests in flight on a connection, replies in order,
 * a batch that failed sent again, by whoever is said to lead by then. */
#ifndef STREAMHOUSE_SIM_PRODUCER_H
#define STREAMHOUSE_SIM_PRODUCER_H

#include "agent/kafka/error.h"
#include "test/sim/sim.h"

enum { PRODUCER_IN_FLIGHT = 5 };

typedef enum StreamState { BATCH_UNSENT, BATCH_SENT, BATCH_ACKED } StreamState;

/* What one producer sends to one partition. */
typedef struct SimStream {
    StreamState states[SIM_BATCHES];
    int64_t offsets[SIM_BATCHES];
    int32_t sequences[SIM_BATCHES];
    int32_t counts[SIM_BATCHES];
    int first_open; /* the first one that is not acknowledged */
    int leader;     /* the agent it believes to lead; BRAIN_NOBODY: ask */
} SimStream;

/* A Produce request: on its way, in an agent, answered, or of a connection that is gone. */
struct SimRequest {
    Sim *sim;
    uint8_t producer;
    uint8_t partition;
    uint8_t batch;
    uint8_t agent;
    uint32_t agent_life;
    bool gone; /* the client does not wait any more */
    bool accepted;
    bool replied;
    int answers;
    KafkaError error;
    int64_t base_offset;
    int64_t replied_us;  /* when the reply reaches the client */
    int64_t deadline_ms; /* on the agent's clock */
};

typedef struct SimLine { /* a connection to an agent */
    SimRequest *requests[PRODUCER_IN_FLIGHT];
    int count;
    int64_t last_us;
} SimLine;

struct SimProducer {
    int index;
    bool drains_before_retry; /* as the Java client: a batch is not sent again beside later ones */
    bool asking;
    int64_t pause_until_us;
    int64_t timer_us; /* when it looks again */
    SimStream streams[SIM_PARTITIONS];
    SimLine lines[SIM_AGENTS];
};

void producer_reset(Sim *sim);
/* The agent has its answer. */
void producer_answered(SimRequest *request);
void producer_disconnect(Sim *sim, SimProducer *producer, int agent);
/* The agent's process is gone, and with it all connections. */
void producer_agent_died(Sim *sim, int agent);
bool producer_all_done(const Sim *sim);
void producer_event(Sim *sim, const Event *event);

#endif
