/* brain_test.c: queries and answers of the brain's client, against a real PostgreSQL. */
#include "test/unit/brain_fixture.h"

/* Rounds of values of every type, checked inside the callback because rows live no longer. */
static bool values_are_right;

static bool are_scalars(const BrainResult *result)
{
    static const uint8_t uuid[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
    const uint8_t *read_uuid = brain_uuid(result, 0, 7);
    return brain_bool(result, 0, 0) && brain_int2(result, 0, 1) == -2 &&
           brain_int4(result, 0, 2) == INT32_MIN && brain_int8(result, 0, 3) == INT64_MAX &&
           slice_equals(brain_text(result, 0, 4), SLICE_LITERAL("grün")) &&
           slice_equals(brain_bytes(result, 0, 5), SLICE_LITERAL("\0\1\2")) &&
           slice_equals(brain_text(result, 0, 6), SLICE_LITERAL("{\"a\": 1}")) && read_uuid &&
           memcmp(read_uuid, uuid, sizeof(uuid)) == 0 && brain_is_null(result, 0, 8) &&
           slice_equals(brain_text(result, 0, 9), SLICE_LITERAL("")) && !brain_is_null(result, 0, 9);
}

static void check_scalars(const BrainResult *result, void *arg)
{
    note_answer(result, arg);
    values_are_right =
        are_scalars(result) && brain_int8(result, 0, 2) == INT32_MIN && /* a wider getter is fine */
        brain_int4(result, 0, 3) == 0 &&                                /* a narrower one is not */
        brain_int4(result, 1, 0) == 0 && brain_int4(result, 0, 99) == 0 && brain_int4(result, -1, -1) == 0;
}

TEST(every_type_comes_back_as_it_was_sent)
{
    static const BrainStatement types = {
        "types",
        "select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10",
        10,
        { BRAIN_BOOL, BRAIN_INT2, BRAIN_INT4, BRAIN_INT8, BRAIN_TEXT, BRAIN_BYTEA, BRAIN_JSONB, BRAIN_UUID,
          BRAIN_TEXT, BRAIN_TEXT },
    };
    static const uint8_t uuid[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
    BrainParameters parameters;
    CHECK(brain_up((BrainOptions){ 0 }));
    for (int round = 0; round < 3; round++) {
        brain_parameters_init(&parameters);
        brain_put_bool(&parameters, true);
        brain_put_int2(&parameters, -2);
        brain_put_int4(&parameters, INT32_MIN);
        brain_put_int8(&parameters, INT64_MAX);
        brain_put_text(&parameters, SLICE_LITERAL("grün"));
        brain_put_bytea(&parameters, SLICE_LITERAL("\0\1\2"));
        brain_put_jsonb(&parameters, SLICE_LITERAL("{\"a\":1}"));
        brain_put_uuid(&parameters, uuid);
        brain_put_text(&parameters, SLICE_NULL);
        brain_put_text(&parameters, SLICE_LITERAL(""));
        values_are_right = false;
        brain_send(brain, BRAIN_READ, &(BrainQuery){ &types, &parameters, 0 }, check_scalars,
                   &answers[round]);
        CHECK_INT(parameters.count, 0); /* taken over */
        CHECK(TURN_UNTIL(answers[round].there));
        CHECK_STR(answers[round].message, "");
        CHECK(values_are_right);
    }
    CHECK(brain_down());
}

static void check_arrays(const BrainResult *result, void *arg)
{
    int32_t fours[4];
    int64_t eights[4];
    Slice texts[4];
    note_answer(result, arg);
    BrainArray four = brain_int4s(result, 0, 0);
    BrainArray eight = brain_int8s(result, 0, 1);
    BrainArray text = brain_texts(result, 0, 2);
    BrainArray with_null = brain_int4s(result, 0, 5);
    BrainArray square = brain_int4s(result, 0, 6);
    BrainArray null = brain_int4s(result, 0, 4);
    BrainArray wrong = brain_int8s(result, 0, 0);
    values_are_right = four.count == 3 && brain_array_int4(&four, 0, fours, 4) == 3 && fours[0] == 7 &&
                       fours[2] == -9 && brain_array_int4(&four, 0, fours, 2) == 2 && eight.count == 0 &&
                       brain_array_int8(&eight, 0, eights, 4) == 0 && text.count == 2 &&
                       brain_array_text(&text, texts, 4) == 2 &&
                       slice_equals(texts[1], SLICE_LITERAL("b\"c,")) &&
                       slice_equals(texts[0], SLICE_LITERAL("")) && brain_int4(result, 0, 3) == 2 &&
                       null.count == -1 && with_null.count == 3 &&
                       brain_array_int4(&with_null, -5, fours, 4) == 3 && fours[1] == -5 && fours[2] == 3 &&
                       square.count == -1 && wrong.count == -1 && brain_array_int4(&square, 0, fours, 4) == 0;
}

TEST(arrays_come_back_as_they_were_sent)
{
    static const BrainStatement arrays = {
        "arrays",
        "select $1, $2, $3, cardinality($4), null::int[], array[1, null, 3], array[[1, 2], [3, 4]]",
        4,
        { BRAIN_INT4S, BRAIN_INT8S, BRAIN_TEXTS, BRAIN_UUIDS },
    };
    BrainParameters parameters;
    CHECK(brain_up((BrainOptions){ 0 }));
    brain_parameters_init(&parameters);
    brain_put_int4s(&parameters, (int32_t[]){ 7, 0, -9 }, 3);
    brain_put_int8s(&parameters, (int64_t[]){ 1 }, 0);
    brain_put_texts(&parameters, (Slice[]){ SLICE_LITERAL(""), SLICE_LITERAL("b\"c,") }, 2);
    brain_put_uuids(&parameters, (uint8_t[32]){ 1, 2, 3 }, 2);
    brain_send(brain, BRAIN_READ, &(BrainQuery){ &arrays, &parameters, 0 }, check_arrays, &answers[0]);
    CHECK(TURN_UNTIL(answers[0].there));
    CHECK_STR(answers[0].message, "");
    CHECK(values_are_right);
    CHECK(brain_down());
}

static void check_pieces(const BrainResult *result, void *arg)
{
    note_answer(result, arg);
    values_are_right = slice_equals(brain_bytes(result, 0, 0), SLICE_LITERAL("one two")) &&
                       slice_equals(brain_bytes(result, 0, 1), SLICE_LITERAL("")) &&
                       slice_equals(brain_text(result, 0, 2), SLICE_LITERAL("{8,-1,32767}"));
}

TEST(pieces_come_back_as_one_value_and_small_numbers_as_an_array)
{
    static const BrainStatement pieces = {
        "pieces", "select $1, $2, $3::text", 3, { BRAIN_BYTEA, BRAIN_BYTEA, BRAIN_INT2S }
    };
    BrainParameters parameters;
    CHECK(brain_up((BrainOptions){ 0 }));
    brain_parameters_init(&parameters);
    brain_put_pieces(&parameters, (Slice[]){ SLICE_LITERAL("one"), SLICE_LITERAL(" "), SLICE_LITERAL("two") },
                     3);
    brain_put_pieces(&parameters, NULL, 0);
    brain_put_int2s(&parameters, (int16_t[]){ 8, -1, 32767 }, 3);
    brain_send(brain, BRAIN_READ, &(BrainQuery){ &pieces, &parameters, 0 }, check_pieces, &answers[0]);
    CHECK(TURN_UNTIL(answers[0].there));
    CHECK_STR(answers[0].message, "");
    CHECK(values_are_right);
    CHECK(brain_down());
}

/* A result with one cell of the test's own bytes. */
static BrainResult forged_result(Oid type, const void *bytes, int size)
{
    PGresAttDesc column = { .name = (char *)"x", .format = 1, .typid = type, .typlen = -1, .atttypmod = -1 };
    PGresult *rows = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
    PQsetResultAttrs(rows, 1, &column);
    PQsetvalue(rows, 0, 0, (char *)bytes, size);
    return (BrainResult){ .status = status_ok(), .rows = rows };
}

TEST(forged_cells_are_read_within_their_bytes)
{
    Writer array;
    writer_init(&array);
    writer_i32(&array, 1);
    writer_i32(&array, 0);
    writer_i32(&array, BRAIN_INT4);
    writer_i32(&array, 2);
    writer_i32(&array, 1);
    for (int i = 0; i < 2; i++) {
        writer_i32(&array, 4);
        writer_i32(&array, 42);
    }
    for (size_t size = 0; size <= array.used; size++) {
        uint8_t *exact = malloc(size + 1); /* an overrun hits the sanitizer's wall */
        memcpy(exact, array.bytes, size);
        BrainResult result = forged_result(1007, exact, (int)size);
        int32_t out[2] = { 0 };
        BrainArray read = brain_int4s(&result, 0, 0);
        int32_t count = brain_array_int4(&read, 0, out, 2);
        CHECK_INT(count, size == array.used ? 2 : count);
        CHECK(size >= array.used || count < 2);
        CHECK_INT(brain_int8(&result, 0, 0), 0);
        PQclear(result.rows);
        free(exact);
    }
    writer_patch_i32(&array, 12, INT32_MAX); /* so many elements cannot be there */
    BrainResult result = forged_result(1007, array.bytes, (int)array.used);
    CHECK_INT(brain_int4s(&result, 0, 0).count, -1);
    PQclear(result.rows);
    writer_free(&array);
}

TEST(queries_of_a_line_run_in_order_and_each_is_its_own_transaction)
{
    CHECK(brain_up((BrainOptions){ 0 }));
    psql("truncate seen");
    ask_number(0, BRAIN_COMMIT, &seen_insert, 10);
    ask_number(1, BRAIN_COMMIT, &divide, 0);
    ask_number(2, BRAIN_COMMIT, &seen_insert, 20);
    ask_number(3, BRAIN_COMMIT, &seen_count, 10);
    ask_number(4, BRAIN_COMMIT, &divide, 1);
    CHECK_INT(answered, 0); /* never from within brain_send() */
    CHECK(TURN_UNTIL(answered == 5));
    for (int i = 0; i < 5; i++) {
        CHECK_INT(answers[i].order, i);
    }
    CHECK_INT(answers[0].number, 10);
    CHECK_INT(answers[1].code, STATUS_INVALID);
    CHECK_STR(answers[1].sqlstate, "22012");
    CHECK(!answers[1].in_doubt);
    CHECK_INT(answers[2].number, 20);
    CHECK_INT(answers[3].number, 1);
    CHECK_INT(answers[4].number, 1);
    static const BrainStatement transactions = {
        "transactions", "select count(distinct transaction) from seen", 0, { 0 }
    };
    ask(5, BRAIN_READ, &transactions);
    CHECK(TURN_UNTIL(answers[5].there));
    CHECK_INT(answers[5].number, 2);
    CHECK(brain_down());
}

TEST(hundreds_of_queries_are_answered_in_order)
{
    enum { QUERIES = 1000 };
    CHECK(brain_up((BrainOptions){ .pipeline_queries_max = 16 }));
    for (int i = 0; i < QUERIES; i++) {
        ask_number(i, BRAIN_READ, &echo, i * 3);
    }
    CHECK(TURN_UNTIL(answered == QUERIES));
    for (int i = 0; i < QUERIES; i++) {
        CHECK_INT(answers[i].order, i);
        CHECK_INT(answers[i].number, i * 3);
    }
    CHECK_INT(metric_value(METRIC_BRAIN_QUERIES_OK), QUERIES + BRAIN_LINE_COUNT); /* and the greetings */
    CHECK(brain_down());
}

static int last_kafka_error;

static void note_kafka_error(const BrainResult *result, void *arg)
{
    note_answer(result, arg);
    last_kafka_error = brain_kafka_error(result);
}

TEST(a_refusal_carries_sqlstate_kafka_error_message_and_hint)
{
    static const BrainStatement refuse = { "refuse", "select refuse()", 0, { 0 } };
    static const BrainStatement missing = { "missing", "select no_such_function()", 0, { 0 } };
    CHECK(brain_up((BrainOptions){ 0 }));
    brain_send(brain, BRAIN_CONTROL, &(BrainQuery){ .statement = &refuse }, note_kafka_error, &answers[0]);
    CHECK(TURN_UNTIL(answers[0].there));
    CHECK_INT(last_kafka_error, 17);
    CHECK_STR(answers[0].message, "that is no topic name. Use letters.");
    CHECK_INT(answers[0].code, STATUS_INVALID);
    /* A statement that could not be prepared is tried anew once it can. */
    brain_send(brain, BRAIN_CONTROL, &(BrainQuery){ .statement = &missing }, note_kafka_error, &answers[1]);
    CHECK(TURN_UNTIL(answers[1].there));
    CHECK_STR(answers[1].sqlstate, "42883");
    CHECK_INT(last_kafka_error, -1);
    psql("create function no_such_function() returns int8 language sql return 5");
    ask(2, BRAIN_CONTROL, &missing);
    CHECK(TURN_UNTIL(answers[2].there));
    psql("drop function no_such_function()");
    CHECK_INT(answers[2].number, 5);
    CHECK(brain_down());
}

TEST(a_commit_that_fails_after_its_rows_came_is_a_failure)
{
    static const BrainStatement late_insert = {
        "late_insert", "insert into late values (1) returning 1::int8", 0, { 0 }
    };
    CHECK(brain_up((BrainOptions){ 0 }));
    psql("truncate late");
    ask(0, BRAIN_COMMIT, &late_insert);
    ask(1, BRAIN_COMMIT, &late_insert);
    ask(2, BRAIN_COMMIT, &one);
    CHECK(TURN_UNTIL(answered == 3));
    CHECK_INT(answers[0].code, STATUS_OK);
    CHECK_INT(answers[1].code, STATUS_EXISTS);
    CHECK_STR(answers[1].sqlstate, "23505");
    CHECK_INT(answers[1].rows, 0);
    CHECK_INT(answers[2].number, 1);
    CHECK(brain_down());
}

static void check_watch(const BrainResult *result, void *arg)
{
    int32_t ids[4];
    note_answer(result, arg);
    BrainArray array = brain_int4s(result, 0, 1);
    values_are_right =
        brain_array_int4(&array, -1, ids, 4) == 3 && ids[0] == 4 && ids[1] == -1 && ids[2] == 6;
}

TEST(a_procedure_that_commits_can_be_called)
{
    static const BrainStatement watch = {
        "watch", "call wait_and_tell($1, $2)", 2, { BRAIN_INT8, BRAIN_INT4S }
    };
    CHECK(brain_up((BrainOptions){ 0 }));
    for (int i = 0; i < 3; i++) {
        BrainParameters parameters;
        brain_parameters_init(&parameters);
        brain_put_int8(&parameters, 41 + i);
        brain_put_null(&parameters);
        brain_send(brain, BRAIN_WATCH, &(BrainQuery){ &watch, &parameters, 0 }, check_watch, &answers[i]);
    }
    CHECK(TURN_UNTIL(answered == 3));
    CHECK_STR(answers[0].message, "");
    CHECK_INT(answers[0].number, 42);
    CHECK_INT(answers[2].number, 44);
    CHECK(values_are_right);
    CHECK(brain_down());
}

TEST(a_plan_of_another_shape_is_prepared_anew)
{
    static const BrainStatement shape = { "shape", "select * from shape", 0, { 0 } };
    CHECK(brain_up((BrainOptions){ 0 }));
    psql("create table shape (a int8); insert into shape values (1)");
    ask(0, BRAIN_READ, &shape);
    CHECK(TURN_UNTIL(answers[0].there));
    psql("alter table shape add b int default 2");
    ask(1, BRAIN_READ, &shape);
    CHECK(TURN_UNTIL(answers[1].there));
    ask(2, BRAIN_READ, &shape);
    CHECK(TURN_UNTIL(answers[2].there));
    psql("drop table shape");
    CHECK_INT(answers[1].code, STATUS_UNAVAILABLE);
    CHECK(!answers[1].in_doubt);
    CHECK_INT(answers[2].code, STATUS_OK);
    CHECK(brain_down());
}

TEST(a_full_queue_refuses)
{
    CHECK(brain_up((BrainOptions){ .queue_queries_max = 5, .queue_bytes_max = 1000 }));
    ask(0, BRAIN_CONTROL, &sleep_long);
    for (int i = 1; i < 8; i++) {
        ask(i, BRAIN_CONTROL, &one);
    }
    CHECK(TURN_UNTIL(answered == 3));
    CHECK_INT(answers[5].code, STATUS_LIMIT);
    CHECK(!answers[5].in_doubt);
    CHECK(!answers[4].there);
    static const BrainStatement bytes = { "bytes", "select length($1)::int8", 1, { BRAIN_BYTEA } };
    static const uint8_t filler[600];
    for (int i = 10; i < 12; i++) {
        BrainParameters parameters;
        brain_parameters_init(&parameters);
        brain_put_bytea(&parameters, slice_of(filler, sizeof(filler)));
        brain_send(brain, BRAIN_READ, &(BrainQuery){ &bytes, &parameters, 0 }, note_answer, &answers[i]);
    }
    CHECK(TURN_UNTIL(answers[10].there && answers[11].there));
    CHECK_INT(answers[10].number, 600);
    CHECK_INT(answers[11].code, STATUS_LIMIT);
    ask_number(12, BRAIN_READ, &echo, 9);
    CHECK(TURN_UNTIL(answers[12].there));
    CHECK_INT(answers[12].number, 9);
    CHECK(brain_down());
}

TEST(too_few_parameters_are_a_defect_and_not_sent)
{
    CHECK(brain_up((BrainOptions){ 0 }));
    ask(0, BRAIN_READ, &echo);
    CHECK(TURN_UNTIL(answers[0].there));
    CHECK_INT(answers[0].code, STATUS_INTERNAL);
    CHECK_STR(answers[0].sqlstate, "");
    CHECK(brain_is_ready(brain, NULL));
    CHECK(brain_down());
}

static void close_brain(const BrainResult *result, void *arg)
{
    note_answer(result, arg);
    brain_close(brain, note_gone, &brain_gone);
}

TEST(the_brain_may_be_closed_from_a_callback)
{
    CHECK(brain_up((BrainOptions){ 0 }));
    brain_send(brain, BRAIN_READ, &(BrainQuery){ .statement = &one }, close_brain, &answers[0]);
    ask(1, BRAIN_READ, &sleep_long);
    ask(2, BRAIN_CONTROL, &sleep_long);
    ask(3, BRAIN_CONTROL, &one);
    uv_run(&loop, UV_RUN_DEFAULT);
    CHECK(brain_gone);
    CHECK(uv_loop_close(&loop) == 0);
    CHECK(answers[1].there && answers[1].code != STATUS_OK);
    CHECK(answers[2].there && answers[2].in_doubt);
    CHECK_INT(answers[3].code, STATUS_CANCELLED);
}
