/* fetch_reply.h: what a Fetch is answered with. */
#ifndef STREAMHOUSE_FETCH_REPLY_H
#define STREAMHOUSE_FETCH_REPLY_H

#include "agent/kafka/request.h"
#include "agent/read/fetcher.h"

/* One partition of the answer, its topic named as the client did. */
typedef struct FetchNews {
    Slice topic;
    KafkaUuid topic_id;
    int32_t index;
    const FetchItem *item;
} FetchNews;

/* Answers the request; ends it. Neighbours of one topic are named together, in their order. */
void fetch_reply(KafkaRequest *request, int32_t session_id, const FetchNews *news, int32_t count,
                 const Collection *records);

/* Nothing but an error. */
void fetch_refuse(KafkaRequest *request, KafkaError error);

#endif
