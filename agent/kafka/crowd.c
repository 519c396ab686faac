/* crowd.c: who is connected, and who makes way when there are too many. A connection is a stranger until it
 * has sent its first whole request, then a client. When all places are taken, the stranger that came first
 * makes way for a newcomer: it had the most time to say something, and whoever opens connections without
 * using them only pushes out its own. Without strangers, the client that has been idle the longest does, if
 * that was long enough; Kafka's clients then just connect again. Connections that are worked for never make
 * way. */
#include "agent/kafka/crowd.h"

#include <assert.h>

#include "agent/clock.h"
#include "agent/metrics.h"

enum { LOOKED_AT_MAX = 64 }; /* clients at the end of their list that may be looked at for one that is idle */

static void list_push(ConnectionList *list, KafkaConnection *connection)
{
    connection->previous = NULL;
    connection->next = list->first;
    *(list->first ? &list->first->previous : &list->last) = connection;
    list->first = connection;
}

static void list_take(ConnectionList *list, KafkaConnection *connection)
{
    *(connection->previous ? &connection->previous->next : &list->first) = connection->next;
    *(connection->next ? &connection->next->previous : &list->last) = connection->previous;
}

static ConnectionList *list_of(KafkaServer *server, const KafkaConnection *connection)
{
    return connection->served > 0 ? &server->clients : &server->strangers;
}

static void crowd_count(KafkaServer *server, int change)
{
    server->connection_count += change;
    metric_set(METRIC_KAFKA_CONNECTIONS, server->connection_count);
}

void crowd_add(KafkaServer *server, KafkaConnection *connection)
{
    assert(connection->served == 0);
    list_push(&server->strangers, connection);
    crowd_count(server, 1);
    metric_add(METRIC_KAFKA_ACCEPTED, 1);
}

void crowd_remove(KafkaServer *server, KafkaConnection *connection)
{
    list_take(list_of(server, connection), connection);
    crowd_count(server, -1);
}

/* The list of clients is in the order of their last requests. */
void crowd_served(KafkaServer *server, KafkaConnection *connection)
{
    list_take(list_of(server, connection), connection);
    connection->served++;
    list_push(&server->clients, connection);
}

static void list_visit(const ConnectionList *list, void (*visit)(KafkaConnection *, int64_t), int64_t now_ms)
{
    KafkaConnection *next;
    for (KafkaConnection *connection = list->first; connection; connection = next) {
        next = connection->next;
        visit(connection, now_ms);
    }
}

void crowd_visit(KafkaServer *server, void (*visit)(KafkaConnection *, int64_t), int64_t now_ms)
{
    list_visit(&server->clients, visit, now_ms);
    list_visit(&server->strangers, visit, now_ms);
}

/* The longest idle of those that came last for a request. */
static KafkaConnection *crowd_idlest(const KafkaServer *server, int64_t now_ms)
{
    KafkaConnection *found = NULL;
    KafkaConnection *client = server->clients.last;
    for (int i = 0; client && i < LOOKED_AT_MAX; i++, client = client->previous) {
        if (client->in_flight == 0 && !client->waiting &&
            now_ms - client->active_ms >= server->options.idle_kept_ms &&
            (!found || client->active_ms < found->active_ms)) {
            found = client;
        }
    }
    return found;
}

bool crowd_make_way(KafkaServer *server, const KafkaConnection *newcomer)
{
    KafkaConnection *victim = server->strangers.last;
    if (!victim || victim == newcomer) {
        victim = crowd_idlest(server, time_ms());
    }
    if (!victim) {
        return false;
    }
    connection_close(victim, CLOSE_DISPLACED,
                     victim->served > 0 ? "it was idle" : "it had not asked for anything");
    return true;
}
