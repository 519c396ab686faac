/* sequence.c: one thing at a time, without recursion: an answer that comes later goes on where the loop had
 * stopped. */
#include "agent/api/sequence.h"

#include <stdlib.h>

#include "agent/clock.h"

/* One question under way. */
typedef struct SequenceQuestion {
    Sequence *sequence;
    SequenceAnswer answer;
} SequenceQuestion;

void sequence_too_large(KafkaRequest *request)
{
    kafka_request_disconnect(request, "the request is too large to be handled");
}

Sequence *sequence_new(KafkaRequest *request, const KafkaStruct *response, int32_t count, int32_t timeout_ms,
                       void (*one)(Sequence *sequence, int32_t index), void (*reply)(Sequence *sequence))
{
    Sequence *sequence = arena_allocate(&request->arena, sizeof(Sequence));
    void *answer = kafka_items_new(&request->arena, response, 1);
    if (!sequence || !answer) {
        sequence_too_large(request);
        return NULL;
    }
    *sequence = (Sequence){
        .request = request,
        .response = answer,
        .count = count,
        .deadline_ms = timeout_ms > 0 ? time_ms() + timeout_ms : 0,
        .one = one,
        .reply = reply,
    };
    return sequence;
}

static void sequence_refreshed(void *argument, const Status *status)
{
    Sequence *sequence = argument;
    (void)status;
    sequence->reply(sequence);
}

void sequence_run(Sequence *sequence)
{
    sequence->going = true;
    while (!sequence->asking && sequence->next < sequence->count && !sequence->request->abandoned) {
        sequence->one(sequence, sequence->next++);
    }
    sequence->going = false;
    if (sequence->asking) {
        return;
    }
    if (sequence->changed && !sequence->request->abandoned) {
        catalog_refresh(api_agent(sequence->request)->catalog, sequence_refreshed, sequence);
    } else {
        sequence->reply(sequence);
    }
}

void sequence_refuse(Sequence *sequence, const SequenceAnswer *answer, KafkaError error, const char *why)
{
    *answer->error_code = (int16_t)error;
    if (answer->message) {
        *answer->message = api_copy(sequence->request, slice_of_text(why));
    }
}

static void sequence_answered(const BrainResult *result, void *argument)
{
    SequenceQuestion *question = argument;
    Sequence *sequence = question->sequence;
    const SequenceAnswer *answer = &question->answer;
    KafkaError error = api_brain_error(result);
    if (error != KAFKA_ERROR_NONE) {
        sequence_refuse(sequence, answer, error, result->message);
    } else if (answer->when_false != KAFKA_ERROR_NONE && !brain_bool(result, 0, 0)) {
        sequence_refuse(sequence, answer, answer->when_false, kafka_error_text((int16_t)answer->when_false));
    } else {
        sequence->changed = sequence->changed || !answer->reads_only;
        if (answer->told) {
            answer->told(sequence, result, answer->argument);
        }
    }
    sequence->asking = false;
    if (!sequence->going) {
        sequence_run(sequence);
    }
}

void sequence_ask(Sequence *sequence, const SequenceAnswer *answer, const BrainStatement *statement,
                  BrainParameters *parameters)
{
    SequenceQuestion *question = arena_allocate(&sequence->request->arena, sizeof(SequenceQuestion));
    bool late = sequence->deadline_ms > 0 && time_ms() >= sequence->deadline_ms;
    if (!question || late) {
        brain_parameters_free(parameters);
        sequence_refuse(sequence, answer, KAFKA_ERROR_REQUEST_TIMED_OUT,
                        late ? "the request's time was up before this was begun" : "memory is short");
        return;
    }
    *question = (SequenceQuestion){ sequence, *answer };
    sequence->asking = true;
    brain_send(api_agent(sequence->request)->brain, BRAIN_CONTROL,
               &(BrainQuery){ .statement = statement, .parameters = parameters }, sequence_answered,
               question);
}

bool sequence_find_repeated(Sequence *sequence, const void *items, size_t size,
                            int (*compare)(const void *left, const void *right))
{
    size_t count = (size_t)sequence->count;
    sequence->repeated = arena_allocate_array(&sequence->request->arena, count, sizeof(bool));
    const char **sorted = malloc(count * sizeof(void *) + 1);
    if (!sequence->repeated || !sorted) {
        free(sorted);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        sorted[i] = (const char *)items + i * size;
        sequence->repeated[i] = false;
    }
    qsort(sorted, count, sizeof(void *), compare);
    for (size_t i = 1; i < count; i++) {
        if (compare(&sorted[i - 1], &sorted[i]) == 0) {
            sequence->repeated[(size_t)(sorted[i - 1] - (const char *)items) / size] = true;
            sequence->repeated[(size_t)(sorted[i] - (const char *)items) / size] = true;
        }
    }
    free(sorted);
    return true;
}
