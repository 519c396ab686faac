/* group_request.h: what the requests of classic members share: groups.c has those of classic groups, which
 * the coordinator (agent/group/) answers, classic_members.c those of groups whose other members speak
 * KIP-848's protocol, which the brain answers. */
#ifndef STREAMHOUSE_API_GROUP_REQUEST_H
#define STREAMHOUSE_API_GROUP_REQUEST_H

#include "agent/api/api.h"
#include "agent/group/service.h"

enum { JOIN_KNOWN_ID_OLDEST = 4 }; /* JoinGroup: a new member is told its id first */

/* One request of a group; in the request's arena. */
typedef struct GroupRequest {
    KafkaRequest *request;
    GroupService *service;
    GroupOpening opening;
    GroupWait wait;
    GroupReply reply;
    bool waiting; /* the coordinator has the wait */
    union {
        KafkaJoinGroupResponse joined;
        KafkaSyncGroupResponse synced;
        KafkaHeartbeatResponse beaten;
        KafkaLeaveGroupResponse left;
    } response;
    void (*refuse)(struct GroupRequest *state, KafkaError error);
} GroupRequest;

#define REQUEST_OF(pointer, field) ((GroupRequest *)((char *)(pointer)-offsetof(GroupRequest, field)))

/* NULL when memory is short; the request has ended then. */
GroupRequest *group_request_new(KafkaRequest *request, const KafkaStruct *response,
                                void (*refuse)(GroupRequest *state, KafkaError error));
/* Finds the group, unless the request can be refused without it. */
void group_request_begin(GroupRequest *state, Slice name, bool create, KafkaError error,
                         void (*opened)(GroupOpening *opening, GroupOpened outcome, Group *group,
                                        KafkaError error));
/* The coordinator has the request's wait from now on. */
void group_request_waits(GroupRequest *state);
/* The response is made. */
void group_request_end(GroupRequest *state);
/* True when the client is gone; the request has ended then. */
bool group_request_is_over(GroupRequest *state);

/* A copy in the request's memory; null stays null. */
Slice group_copy(GroupRequest *state, Slice text);
Slice group_request_client_id(const GroupRequest *state);

/* A classic member's requests in a group of type consumer. */
void classic_member_join(GroupRequest *state);
void classic_member_sync(GroupRequest *state);
void classic_member_heartbeat(GroupRequest *state);
void classic_member_leave(GroupRequest *state);

#endif
