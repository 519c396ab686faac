/* producers.c: InitProducerId: hands out producer ids for idempotent producers. */
#include "agent/api/api.h"
#include "agent/brain/brain.h"

static const BrainStatement init_producer_statement = {
    "init_producer", "SELECT producer_id, producer_epoch FROM sh_init_producer()", 0, { 0 }
};

static void init_producer_id_answered(const BrainResult *result, void *argument)
{
    KafkaRequest *request = argument;
    KafkaInitProducerIdResponse response;
    kafka_defaults(&KAFKA_INIT_PRODUCER_ID_RESPONSE.root, &response);
    response.producer_epoch = -1;
    if (status_is_ok(&result->status) && brain_row_count(result) == 1) {
        response.producer_id = brain_int8(result, 0, 0);
        response.producer_epoch = brain_int2(result, 0, 1);
    } else {
        /* The clients' one retriable answer to this request, whatever the cause. */
        response.error_code = KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE;
    }
    kafka_request_reply(request, &response);
}

void init_producer_id_handle(KafkaRequest *request)
{
    const KafkaInitProducerIdRequest *asked = request->message;
    if (!slice_is_null(asked->transactional_id)) {
        KafkaInitProducerIdResponse response;
        kafka_defaults(&KAFKA_INIT_PRODUCER_ID_RESPONSE.root, &response);
        response.producer_epoch = -1;
        response.error_code = KAFKA_ERROR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED;
        kafka_request_reply(request, &response);
        return;
    }
    brain_send(api_agent(request)->brain, BRAIN_READ, &(BrainQuery){ .statement = &init_producer_statement },
               init_producer_id_answered, request);
}
