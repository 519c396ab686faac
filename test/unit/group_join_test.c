/* group_join_test.c: who may join a group, when a generation begins, and what everybody is told of it. */
#include "test/unit/group_fixture.h"
#include "test/unit/test.h"

TEST(a_new_member_is_told_its_id_and_joins_with_it)
{
    World *world = world_new(&world_options);
    Client client = client_new();
    Reply reply;
    client_join(world, &client, &reply);
    CHECK_INT(reply.count, 1);
    CHECK_INT(reply.error, KAFKA_ERROR_MEMBER_ID_REQUIRED);
    CHECK(strncmp(reply.member_id, "c-", 2) == 0);
    client_learn(&client, &reply);
    client_join(world, &client, &reply);
    CHECK_INT(reply.count, 0);
    world_pass(world, 2999);
    CHECK_INT(reply.count, 0);
    world_pass(world, 1);
    CHECK_INT(reply.count, 1);
    CHECK_INT(reply.error, KAFKA_ERROR_NONE);
    CHECK_INT(reply.generation, 1);
    CHECK_STR(reply.leader, client.id);
    CHECK_STR(reply.protocol, "range");
    CHECK_INT(reply.members, 1);
    world_free(world);
}

TEST(an_id_that_nobody_joins_with_is_forgotten)
{
    World *world = world_new(&world_options);
    Client client = client_new();
    Reply reply;
    client_join(world, &client, &reply);
    client_learn(&client, &reply);
    world_pass(world, client.session_ms);
    CHECK(!world_group(world));
    client_join(world, &client, &reply);
    CHECK_INT(reply.error, KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    world_free(world);
}

TEST(an_old_client_joins_at_once)
{
    World *world = world_new(&world_options);
    Client client = client_new();
    Reply reply;
    client.old = true;
    client_join(world, &client, &reply);
    CHECK_INT(reply.count, 0);
    world_pass(world, 3000);
    CHECK_INT(reply.error, KAFKA_ERROR_NONE);
    CHECK_INT(reply.generation, 1);
    world_free(world);
}

TEST(each_member_that_joins_extends_the_initial_delay_up_to_the_rebalance_timeout)
{
    static const int64_t waits_ms[] = { 2000, 3000, 1500, 500 }; /* they join after 0, 2, 5 and 6.5 s */
    World *world = world_new(&world_options);
    Client clients[4];
    Reply replies[4];
    for (int i = 0; i < 4; i++) {
        clients[i] = client_new();
        clients[i].rebalance_ms = 7000;
        clients[i].old = true;
        client_join(world, &clients[i], &replies[i]);
        for (int64_t passed_ms = 0; passed_ms < waits_ms[i]; passed_ms += 100) {
            CHECK_INT(replies[0].count, 0);
            world_pass(world, 100);
        }
    }
    for (int i = 0; i < 4; i++) {
        CHECK_INT(replies[i].count, 1);
        CHECK_INT(replies[i].generation, 1);
    }
    CHECK_INT(replies[0].members, 4);
    world_free(world);
}

TEST(without_newcomers_the_initial_delay_is_not_extended)
{
    World *world = world_new(&world_options);
    Client client = client_new();
    Reply reply;
    client_enter(world, &client, &reply);
    world_pass(world, 3000);
    CHECK_INT(reply.count, 1);
    world_free(world);
}

TEST(the_protocol_that_most_prefer_among_those_that_all_speak_is_chosen)
{
    World *world = world_new(&world_options);
    Client clients[3] = { client_new(), client_new(), client_new() };
    Reply replies[3];
    const char *spoken[3][4] = { { "a", "b", "c" }, { "c", "b", "a" }, { "b", "c" } };
    for (int i = 0; i < 3; i++) {
        memcpy(clients[i].protocols, spoken[i], sizeof(spoken[i]));
        clients[i].old = true;
        client_join(world, &clients[i], &replies[i]);
    }
    world_pass(world, 3000);
    world_pass(world, 3000);
    for (int i = 0; i < 3; i++) {
        CHECK_STR(replies[i].protocol, "b"); /* a is not spoken by all, so the first votes for b, too */
    }
    world_free(world);
}

TEST(who_speaks_no_protocol_of_the_group_or_is_of_another_type_is_refused)
{
    World *world = world_new(&world_options);
    Client first = client_new();
    Client other = client_new();
    Reply replies[2];
    client_enter(world, &first, &replies[0]);
    other.protocols[0] = "sticky";
    client_join(world, &other, &replies[1]);
    CHECK_INT(replies[1].error, KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    other = client_new();
    other.type = "connect";
    client_join(world, &other, &replies[1]);
    CHECK_INT(replies[1].error, KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    other = client_new();
    other.group = "h";
    other.protocols[0] = NULL;
    client_join(world, &other, &replies[1]);
    CHECK_INT(replies[1].error, KAFKA_ERROR_INCONSISTENT_GROUP_PROTOCOL);
    world_free(world);
}

TEST(the_protocol_type_is_that_of_the_first_member_whatever_it_is)
{
    World *world = world_new(&world_options);
    Client client = client_new();
    Reply reply;
    client.type = "connect";
    client.protocols[0] = "sessioned";
    client_enter(world, &client, &reply);
    world_pass(world, 3000);
    CHECK_BYTES(group_protocol_type(world_group(world)), SLICE_LITERAL("connect"));
    CHECK_STR(reply.protocol, "sessioned");
    world_free(world);
}

TEST(the_leader_alone_is_told_what_all_members_say)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb;
    a.metadata = "A";
    b.metadata = "B";
    client_enter(world, &a, &ra);
    client_enter(world, &b, &rb);
    world_pass(world, 3000);
    world_pass(world, 3000);
    CHECK_INT(ra.members, 2);
    CHECK_STR(ra.metadata, "AB");
    CHECK_INT(rb.members, 0);
    CHECK_STR(rb.leader, ra.member_id);
    world_free(world);
}

TEST(a_member_that_missed_its_answer_is_told_of_the_generation_again)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb;
    client_enter(world, &a, &ra);
    client_enter(world, &b, &rb);
    world_pass(world, 3000);
    world_pass(world, 3000);
    client_join(world, &b, &rb);
    CHECK_INT(rb.count, 1);
    CHECK_INT(rb.generation, 1);
    CHECK_INT(rb.members, 0);
    client_join(world, &a, &ra);
    CHECK_INT(ra.count, 1);
    CHECK_INT(ra.members, 2);
    CHECK_INT(group_state(world_group(world)), GROUP_COMPLETING_REBALANCE);
    world_free(world);
}

TEST(a_follower_that_joins_a_stable_group_with_nothing_new_starts_no_rebalance)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb;
    world_pair(world, &a, &b, &ra, &rb);
    client_join(world, &b, &rb);
    CHECK_INT(rb.count, 1);
    CHECK_INT(rb.error, KAFKA_ERROR_NONE);
    CHECK_INT(rb.generation, 1);
    CHECK_INT(group_state(world_group(world)), GROUP_STABLE);
    world_free(world);
}

TEST(a_follower_that_says_something_new_and_a_leader_in_any_case_start_a_rebalance)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb;
    world_pair(world, &a, &b, &ra, &rb);
    b.metadata = "owned: 1, 2"; /* as cooperative assignors say it */
    client_join(world, &b, &rb);
    CHECK_INT(rb.count, 0);
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    client_join(world, &a, &ra);
    CHECK_INT(rb.count, 1);
    CHECK_INT(ra.generation, 2);
    CHECK_STR(ra.metadata, "mowned: 1, 2");
    client_learn(&a, &ra);
    client_learn(&b, &rb);
    client_sync(world, &b, &rb);
    client_sync_for(world, &a, &ra, (Client *const[]){ &a, &b }, (const char *const[]){ "1", "2" }, 2);
    world_end_store(world, GROUP_STORED);
    client_join(world, &a, &ra);
    CHECK_INT(ra.count, 0);
    CHECK_INT(group_state(world_group(world)), GROUP_PREPARING_REBALANCE);
    world_free(world);
}

TEST(who_does_not_join_within_the_rebalance_timeout_is_left_behind_and_another_leads)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb;
    world_pair(world, &a, &b, &ra, &rb);
    b.metadata = "new";
    client_join(world, &b, &rb);
    for (int passed_ms = 0; passed_ms < 60000; passed_ms += 5000) {
        CHECK_INT(client_beat(world, &a), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
        CHECK_INT(rb.count, 0);
        world_pass(world, 5000);
    }
    CHECK_INT(rb.count, 1);
    CHECK_INT(rb.generation, 2);
    CHECK_STR(rb.leader, b.id);
    CHECK_INT(rb.members, 1);
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    world_free(world);
}

TEST(a_group_takes_no_more_members_than_it_may_have)
{
    GroupOptions options = world_options;
    options.members_max = 2;
    World *world = world_new(&options);
    Client a = client_new();
    Client b = client_new();
    Client c = client_new();
    Reply ra, rb, rc;
    world_pair(world, &a, &b, &ra, &rb);
    client_join(world, &c, &rc);
    CHECK_INT(rc.error, KAFKA_ERROR_GROUP_MAX_SIZE_REACHED);
    CHECK_INT(group_member_count(world_group(world)), 2);
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_NONE);
    world_free(world);
}

TEST(a_group_takes_no_more_memory_than_it_may_have)
{
    GroupOptions options = world_options;
    options.group_bytes_max = 4000;
    World *world = world_new(&options);
    Client client = client_new();
    Reply replies[32];
    int refused = 0;
    for (int i = 0; i < 32; i++) {
        client_join(world, &client, &replies[i]);
        CHECK_INT(replies[i].count, 1);
        refused += replies[i].error == KAFKA_ERROR_GROUP_MAX_SIZE_REACHED;
    }
    CHECK(refused > 20 && refused < 32);
    CHECK(groups_count(world->groups).bytes <= 4000);
    world_pass(world, client.session_ms);
    CHECK_INT(groups_count(world->groups).bytes, 0);
    world_free(world);
}

TEST(a_client_that_goes_away_while_it_joins_loses_its_place_unless_it_can_come_back)
{
    World *world = world_new(&world_options);
    Client old = client_new();
    Client known = client_new();
    Reply ro, rk;
    old.old = true;
    client_join(world, &old, &ro);
    client_enter(world, &known, &rk);
    CHECK_INT(group_member_count(world_group(world)), 2);
    group_abandon(&ro.wait);
    CHECK_INT(group_member_count(world_group(world)), 1);
    group_abandon(&rk.wait);
    CHECK_INT(group_member_count(world_group(world)), 1);
    client_join(world, &known, &rk);
    world_pass(world, 3000);
    world_pass(world, 3000);
    CHECK_INT(rk.count, 1);
    CHECK_INT(rk.generation, 1);
    CHECK_INT(ro.count, 0);
    world_free(world);
}

TEST(a_second_join_of_a_member_takes_the_place_of_the_first)
{
    World *world = world_new(&world_options);
    Client client = client_new();
    Reply first, second;
    client_enter(world, &client, &first);
    client_join(world, &client, &second);
    CHECK_INT(first.count, 1);
    CHECK_INT(first.error, KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    world_pass(world, 3000);
    world_pass(world, 3000);
    CHECK_INT(second.count, 1);
    CHECK_INT(second.error, KAFKA_ERROR_NONE);
    CHECK_INT(first.count, 1);
    world_free(world);
}
