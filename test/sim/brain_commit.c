/* brain_commit.c: sh_commit_object() and sh_commit_inline() around the product's commit_decide.c, step by
 * step as src/commit.c has them: locks, then what was committed before them, then the decision. */
#include "test/sim/brain_internal.h"

static CommitPartition *tx_partition(BrainTx *tx, const CommitRow *row)
{
    for (int i = 0; i < tx->partition_count; i++) {
        if (tx->partitions[i].partition == row->partition) {
            return &tx->partitions[i];
        }
    }
    CommitPartition *partition = &tx->partitions[tx->partition_count++];
    *partition = (CommitPartition){ .topic_id = row->topic_id, .partition = row->partition };
    return partition;
}

static CommitProducer *tx_producer(BrainTx *tx, CommitPartition *partition, const CommitRow *row)
{
    int64_t place = partition - tx->partitions;
    if (row->producer_id < 0) {
        return NULL;
    }
    partition->producers = tx->producers[place];
    for (int i = 0; i < partition->producer_count; i++) {
        if (partition->producers[i].producer_id == row->producer_id) {
            return &partition->producers[i];
        }
    }
    CommitProducer *producer = &partition->producers[partition->producer_count++];
    *producer = (CommitProducer){ .topic_id = row->topic_id,
                                  .partition = row->partition,
                                  .producer_id = row->producer_id };
    return producer;
}

/* Producers of the simulation have the ids 1, 2, and so on. */
static ProducerRing *brain_ring(Brain *brain, const CommitProducer *producer)
{
    return &brain->partitions[producer->partition].rings[producer->producer_id - 1];
}

static void tx_parse(BrainTx *tx, const BrainCommit *commit)
{
    if (commit->count > BRAIN_ROWS) {
        sim_bail_out("more batches in a commit than a simulation can hold");
    }
    tx->batch_count = commit->count;
    for (int i = 0; i < commit->count; i++) {
        CommitBatch *batch = &tx->batches[i];
        CommitPartition *partition = tx_partition(tx, &commit->rows[i]);
        *batch = (CommitBatch){ .row = commit->rows[i], .partition = partition };
        batch->answer.base_offset = -1;
        batch->producer = tx_producer(tx, partition, &batch->row);
    }
}

/* Batches by partition, in the caller's order; room for segments likewise. */
static void tx_sort(BrainTx *tx)
{
    int place = 0;
    for (int i = 0; i < tx->partition_count; i++) {
        CommitPartition *partition = &tx->partitions[i];
        partition->batches = &tx->order[place];
        partition->segments = &tx->segments[place];
        for (int j = 0; j < tx->batch_count; j++) {
            if (tx->batches[j].partition == partition) {
                partition->batches[partition->batch_count++] = &tx->batches[j];
                place++;
            }
        }
    }
}

/* What somebody else holds is locked, and not waited for, unless that was asked. */
static bool tx_lock(Brain *brain, int number, const BrainCommit *commit, int64_t *busy_until_us)
{
    BrainTx *tx = &brain->txs[number];
    for (int i = 0; i < tx->partition_count; i++) {
        CommitPartition *partition = &tx->partitions[i];
        const PartitionRow *row = &brain->partitions[partition->partition];
        if (!row->held_by) {
            brain_hold_partition(brain, number, partition->partition);
        } else if (commit->waits) {
            *busy_until_us = brain->txs[row->held_by - 1].end_us;
            return false;
        } else {
            partition->absent = COMMIT_LOCKED;
        }
    }
    return true;
}

static void tx_lose_partitions(BrainTx *tx)
{
    for (int i = 0; i < tx->partition_count; i++) {
        tx->partitions[i].absent = COMMIT_LOCKED;
    }
}

/* False: it will never be committed. */
static bool tx_lock_object(Brain *brain, BrainTx *tx, const BrainCommit *commit)
{
    const BrainObject *object = brain_object(brain, commit->id);
    if (brain_object_is_held(brain, commit->id)) {
        tx_lose_partitions(tx);
        return true;
    }
    tx->object_id = commit->id;
    if (object->agent_id != commit->agent_id) {
        return false;
    }
    return object->state == OBJECT_LIVE ||
           (object->state == OBJECT_INTENT && object->expires_us > sim_now(brain->sim));
}

static void tx_read_answers(Brain *brain, BrainTx *tx, const BrainCommit *commit)
{
#ifdef MUTANT_FORGETS_ANSWERS
    return;
#endif
    for (int32_t i = brain_object(brain, commit->id)->answers; i > 0; i = brain->answers[i].next) {
        const AnswerRow *row = &brain->answers[i];
        for (int j = 0; j < tx->batch_count; j++) {
            CommitBatch *batch = &tx->batches[j];
            if (batch->row.batch == row->answer.batch) {
                batch->repeated = true;
                batch->answer =
                    (CommitAnswer){ (CommitStatus)row->status, row->answer.error, row->answer.base_offset };
                sim_cover(brain->sim, COVER_KEPT_ANSWER);
            }
        }
    }
}

static void tx_read_partition(Brain *brain, CommitPartition *partition)
{
    const PartitionRow *row = &brain->partitions[partition->partition];
    partition->next_offset = row->end_offset;
    partition->leader_id = row->leader;
    partition->lease_epoch = row->epoch;
    for (int i = 0; i < partition->producer_count; i++) {
        partition->producers[i].ring = *brain_ring(brain, &partition->producers[i]);
    }
}

static void tx_decide(Brain *brain, BrainTx *tx, const BrainCommit *commit)
{
    tx_read_answers(brain, tx, commit);
    for (int i = 0; i < tx->partition_count; i++) {
        CommitPartition *partition = &tx->partitions[i];
        if (!partition->absent) {
            tx_read_partition(brain, partition);
            commit_decide_partition(partition, commit->agent_id);
            continue;
        }
        for (int j = 0; j < partition->batch_count; j++) {
            partition->batches[j]->answer = (CommitAnswer){ partition->absent, COMMIT_ERROR_NONE, -1 };
        }
    }
}

static BrainStatus status_of(CommitStatus status)
{
    switch (status) {
    case COMMIT_COMMITTED:
        return BRAIN_COMMITTED;
    case COMMIT_DUPLICATE:
        return BRAIN_DUPLICATE;
    case COMMIT_LOCKED:
        return BRAIN_LOCKED;
    default:
        return BRAIN_REFUSED;
    }
}

static BrainAnswer answer_of(const CommitBatch *batch)
{
    bool is_taken = batch->answer.status == COMMIT_COMMITTED || batch->answer.status == COMMIT_DUPLICATE;
    return (BrainAnswer){ .batch = batch->row.batch,
                          .status = status_of(batch->answer.status),
                          .error = batch->answer.error_code,
                          .base_offset = batch->answer.base_offset,
                          .leader_epoch = is_taken ? batch->row.lease_epoch : batch->partition->lease_epoch };
}

static void cover_answer(const Brain *brain, const CommitBatch *batch)
{
    static const Cover covers[COMMIT_STATUSES] = { [COMMIT_DUPLICATE] = COVER_DUPLICATE,
                                                   [COMMIT_FENCED] = COVER_FENCED,
                                                   [COMMIT_LOCKED] = COVER_LOCKED,
                                                   [COMMIT_INVALID] = COVER_OUT_OF_ORDER };
    if (covers[batch->answer.status]) {
        sim_cover(brain->sim, covers[batch->answer.status]);
    }
}

static bool tx_needs_room(const BrainTx *tx)
{
    for (int i = 0; i < tx->partition_count; i++) {
        if (tx->partitions[i].segment_count > 0) {
            return true;
        }
    }
    return false;
}

BrainBegun brain_begin_commit(Brain *brain, const BrainCommit *commit, BrainAnswer *answers)
{
    int number;
    int64_t busy_until_us = 0;
    BrainTx *tx = brain_tx_new(brain, TX_COMMIT, &number);
    tx_parse(tx, commit);
    tx_sort(tx);
    if (!tx_lock(brain, number, commit, &busy_until_us)) {
        brain_release(brain, number);
        return (BrainBegun){ BRAIN_BUSY, BRAIN_NOBODY, busy_until_us };
    }
    if (!commit->is_inline && !tx_lock_object(brain, tx, commit)) {
        brain_release(brain, number);
        sim_cover(brain->sim, COVER_INTENT_EXPIRED);
        return brain_refused(BRAIN_EXPIRED);
    }
    tx->object_id = tx->object_id ? tx->object_id : commit->is_inline ? commit->id : 0;
    tx_decide(brain, tx, commit);
    if (commit->is_inline && tx_needs_room(tx) && sim_happens(brain->sim, brain->sim->config.full)) {
        brain_release(brain, number);
        sim_cover(brain->sim, COVER_FULL);
        return brain_refused(BRAIN_FULL);
    }
    for (int i = 0; i < tx->batch_count; i++) {
        answers[i] = answer_of(&tx->batches[i]);
        cover_answer(brain, &tx->batches[i]);
    }
    return brain_begun(number);
}

static void brain_keep_answer(Brain *brain, BrainObject *object, const CommitBatch *batch)
{
    if (batch->repeated || batch->answer.status == COMMIT_LOCKED || object->forgotten) {
        return;
    }
    if (brain->answer_count + 1 == BRAIN_ANSWERS) {
        sim_bail_out("more kept answers than a simulation can hold");
    }
    int32_t place = ++brain->answer_count;
    brain->answers[place] = (AnswerRow){ object->answers, answer_of(batch), (int16_t)batch->answer.status };
    object->answers = place;
}

static void brain_apply_partition(Brain *brain, BrainTx *tx, CommitPartition *partition)
{
    for (int i = 0; i < partition->batch_count; i++) {
        const CommitBatch *batch = partition->batches[i];
        if (!batch->repeated && batch->answer.status == COMMIT_COMMITTED) {
            BrainEntry entry = { .base_offset = batch->answer.base_offset,
                                 .object_id = tx->object_id,
                                 .count = batch->row.offset_count,
                                 .first_sequence = batch->row.first_sequence,
                                 .epoch = batch->row.lease_epoch,
                                 .producer = (int32_t)batch->row.producer_id - 1 };
            brain_append_entry(brain, partition->partition, &entry);
        }
    }
    for (int i = 0; i < partition->producer_count; i++) {
        if (partition->producers[i].changed) {
            *brain_ring(brain, &partition->producers[i]) = partition->producers[i].ring;
        }
    }
}

void brain_apply_commit(Brain *brain, BrainTx *tx)
{
    if (tx->object_id == 0) {
        return; /* all was locked */
    }
    BrainObject *object = brain_object(brain, tx->object_id);
    for (int i = 0; i < tx->partition_count; i++) {
        if (!tx->partitions[i].absent) {
            brain_apply_partition(brain, tx, &tx->partitions[i]);
            object->segments += tx->partitions[i].segment_count;
        }
    }
    for (int i = 0; i < tx->batch_count; i++) {
        brain_keep_answer(brain, object, &tx->batches[i]);
    }
    if (object->segments > 0) {
        object->state = OBJECT_LIVE;
        sim_cover(brain->sim, object->is_inline ? COVER_INLINE : COVER_OBJECT);
    }
}
