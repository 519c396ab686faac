/* group_sync_test.c: assignments, heartbeats, leaving, static members, and what the brain must know first. */
#include "test/unit/group_fixture.h"
#include "test/unit/test.h"

TEST(nobody_hears_of_an_assignment_before_it_is_stored)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb;
    client_enter(world, &a, &ra);
    client_enter(world, &b, &rb);
    world_pass(world, 3000);
    world_pass(world, 3000);
    client_learn(&a, &ra);
    client_learn(&b, &rb);
    client_sync(world, &b, &rb);
    CHECK(!world->storing);
    client_sync_for(world, &a, &ra, (Client *const[]){ &a, &b }, (const char *const[]){ "x", "y" }, 2);
    CHECK(world->storing);
    CHECK_INT(ra.count + rb.count, 0);
    CHECK(strstr(world->stored, "1/range/") == world->stored && strstr(world->stored, "=x"));
    world_end_store(world, GROUP_STORED);
    CHECK_STR(ra.assignment, "x");
    CHECK_STR(rb.assignment, "y");
    CHECK_INT(ra.count + rb.count, 2);
    CHECK_INT(group_state(world_group(world)), GROUP_STABLE);
    world_free(world);
}

TEST(a_member_that_the_leader_forgot_gets_nothing_and_strangers_are_passed_over)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Client nobody = client_new();
    Reply ra, rb;
    client_enter(world, &a, &ra);
    client_enter(world, &b, &rb);
    world_pass(world, 6000);
    world_pass(world, 3000);
    client_learn(&a, &ra);
    client_learn(&b, &rb);
    snprintf(nobody.id, sizeof(nobody.id), "nobody");
    client_sync_for(world, &a, &ra, (Client *const[]){ &a, &nobody }, (const char *const[]){ "x", "y" }, 2);
    world_end_store(world, GROUP_STORED);
    CHECK_STR(ra.assignment, "x");
    client_sync(world, &b, &rb);
    CHECK_INT(rb.error, KAFKA_ERROR_NONE);
    CHECK_STR(rb.assignment, "");
    world_free(world);
}

TEST(a_failed_store_sends_all_back_to_join_again)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Reply ra;
    world_alone(world, &a, &ra);
    world_end_store(world, GROUP_FAILED);
    CHECK_INT(ra.error, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    client_join(world, &a, &ra);
    CHECK_INT(ra.generation, 2);
    world_free(world);
}

TEST(a_fenced_coordinator_forgets_the_group_and_says_so)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Reply ra;
    world_alone(world, &a, &ra);
    world_end_store(world, GROUP_FENCED);
    CHECK_INT(ra.error, KAFKA_ERROR_NOT_COORDINATOR);
    CHECK(!world_group(world));
    CHECK_INT(groups_count(world->groups).bytes, 0);
    world_free(world);
}

TEST(a_store_in_doubt_is_made_again_under_a_higher_epoch)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Reply ra;
    world_alone(world, &a, &ra);
    CHECK_INT(group_coordinator_epoch(world_group(world)), 1);
    world_end_store(world, GROUP_IN_DOUBT);
    CHECK(!world->storing);
    world_pass(world, GROUP_STORE_RETRY_MS);
    CHECK_INT(world->claim_count, 1);
    CHECK(!world->storing);
    world_give_empty(world, 0);
    CHECK_INT(group_coordinator_epoch(world_group(world)), 2);
    CHECK(world->storing);
    CHECK_INT(ra.count, 0);
    world_end_store(world, GROUP_STORED);
    CHECK_STR(ra.assignment, "x");
    world_free(world);
}

TEST(nothing_is_stored_under_an_epoch_that_is_about_to_rise)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Reply ra;
    client_enter(world, &a, &ra);
    world_pass(world, 3000);
    client_learn(&a, &ra);
    groups_check(world->groups, SLICE_LITERAL("h"));
    CHECK_INT(world->claim_count, 0);
    groups_check(world->groups, SLICE_LITERAL("g"));
    CHECK_INT(world->claim_count, 1);
    client_sync_for(world, &a, &ra, (Client *const[]){ &a }, (const char *const[]){ "x" }, 1);
    CHECK(!world->storing);
    world_give_empty(world, 0);
    CHECK_INT(group_coordinator_epoch(world_group(world)), 2);
    CHECK(world->storing);
    world_end_store(world, GROUP_STORED);
    CHECK_STR(ra.assignment, "x");
    world_free(world);
}

TEST(a_locked_group_is_stored_a_little_later)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Reply ra;
    world_alone(world, &a, &ra);
    world_end_store(world, GROUP_BUSY);
    CHECK_INT(ra.count, 0);
    world_pass(world, GROUP_STORE_RETRY_MS);
    CHECK(world->storing);
    world_end_store(world, GROUP_STORED);
    CHECK_STR(ra.assignment, "x");
    world_free(world);
}

TEST(a_rebalance_that_begins_during_a_store_ends_the_waits_of_that_generation)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb;
    world_alone(world, &a, &ra);
    client_enter(world, &b, &rb);
    CHECK_INT(ra.error, KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    world_end_store(world, GROUP_STORED);
    CHECK_INT(ra.count, 1);
    CHECK_INT(group_state(world_group(world)), GROUP_PREPARING_REBALANCE);
    client_join(world, &a, &ra);
    CHECK_INT(ra.generation, 2);
    CHECK_INT(rb.generation, 2);
    world_free(world);
}

TEST(heartbeats_say_what_the_member_has_to_do)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Client c = client_new();
    Reply ra, rb, rc;
    world_pair(world, &a, &b, &ra, &rb);
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_NONE);
    a.generation = 0;
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_ILLEGAL_GENERATION);
    a.generation = 1;
    client_join(world, &c, &rc);
    client_learn(&c, &rc);
    CHECK_INT(client_beat(world, &c), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_NONE);
    client_join(world, &c, &rc);
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    world_free(world);
}

TEST(a_silent_member_is_removed_and_an_offset_commit_is_as_good_as_a_heartbeat)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb;
    world_pair(world, &a, &b, &ra, &rb);
    for (int i = 0; i < 3; i++) {
        world_pass(world, 4000);
        (void)client_beat(world, &a);
        if (i < 1) {
            group_heard(world->groups, SLICE_LITERAL("g"), slice_of_text(b.id), 1);
            group_heard(world->groups, SLICE_LITERAL("h"), slice_of_text(b.id), 1);
        }
    }
    CHECK_INT(group_state(world_group(world)), GROUP_STABLE);
    group_heard(world->groups, SLICE_LITERAL("g"), slice_of_text(b.id), 0); /* a zombie's is not */
    world_pass(world, 2000);
    CHECK_INT(group_state(world_group(world)), GROUP_PREPARING_REBALANCE);
    CHECK_INT(client_beat(world, &b), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    CHECK_INT(groups_count(world->groups).expired, 1);
    world_free(world);
}

TEST(a_member_that_waits_in_a_join_needs_no_heartbeats_unless_it_is_gone)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb;
    world_pair(world, &a, &b, &ra, &rb);
    b.metadata = "new";
    client_join(world, &b, &rb);
    for (int i = 0; i < 4; i++) {
        (void)client_beat(world, &a);
        world_pass(world, 9000);
    }
    CHECK_INT(rb.count, 0);
    group_abandon(&rb.wait);
    (void)client_beat(world, &a);
    world_pass(world, 9000);
    (void)client_beat(world, &a);
    CHECK_INT(group_member_count(world_group(world)), 2);
    world_pass(world, 1000);
    CHECK_INT(group_member_count(world_group(world)), 1);
    world_free(world);
}

TEST(who_never_asks_for_its_assignment_is_removed_after_the_rebalance_timeout)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb;
    client_enter(world, &a, &ra);
    client_enter(world, &b, &rb);
    world_pass(world, 3000);
    world_pass(world, 3000);
    client_learn(&a, &ra);
    client_learn(&b, &rb);
    client_sync_for(world, &a, &ra, (Client *const[]){ &a }, (const char *const[]){ "x" }, 1);
    world_end_store(world, GROUP_STORED);
    for (int i = 0; i < 12; i++) {
        CHECK_INT(client_beat(world, &a), KAFKA_ERROR_NONE);
        CHECK_INT(client_beat(world, &b), KAFKA_ERROR_NONE);
        world_pass(world, 5000);
    }
    CHECK_INT(client_beat(world, &b), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    world_free(world);
}

TEST(the_last_member_leaves_an_empty_group_behind_which_is_stored_and_forgotten)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb;
    world_pair(world, &a, &b, &ra, &rb);
    CHECK_INT(client_leave(world, a.id, NULL), KAFKA_ERROR_NONE);
    CHECK_INT(client_leave(world, a.id, NULL), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    CHECK_INT(client_beat(world, &b), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    CHECK_INT(client_leave(world, b.id, NULL), KAFKA_ERROR_NONE);
    CHECK(world->storing);
    CHECK_STR(world->stored, "2//:");
    world_end_store(world, GROUP_FAILED);
    world_pass(world, GROUP_EMPTY_RETRY_MS);
    CHECK(world->storing);
    world_end_store(world, GROUP_STORED);
    CHECK(!world_group(world));
    CHECK_INT(groups_count(world->groups).bytes, 0);
    CHECK_INT(world_tick(world), GROUPS_NEVER_MS);
    world_free(world);
}

TEST(a_static_member_that_comes_back_keeps_its_place_and_fences_its_double)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb, again;
    b.instance = "i";
    world_pair(world, &a, &b, &ra, &rb);
    Client fresh = b;
    fresh.id[0] = '\0';
    client_join(world, &fresh, &again);
    CHECK_INT(again.count, 0);
    CHECK(world->storing);
    CHECK(strstr(world->stored, "i-") && strstr(world->stored, "=y"));
    CHECK_INT(client_beat(world, &b), KAFKA_ERROR_FENCED_INSTANCE_ID);
    world_end_store(world, GROUP_STORED);
    CHECK_INT(again.count, 1);
    CHECK_INT(again.generation, 1);
    CHECK(!again.skip_assignment);
    CHECK_INT(group_state(world_group(world)), GROUP_STABLE);
    client_learn(&fresh, &again);
    client_sync(world, &fresh, &again);
    CHECK_STR(again.assignment, "y");
    CHECK_INT(client_beat(world, &fresh), KAFKA_ERROR_NONE);
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_NONE);
    world_free(world);
}

TEST(a_static_leader_that_comes_back_is_told_to_skip_the_assignment_if_it_understands_that)
{
    for (int skips = 0; skips < 2; skips++) {
        World *world = world_new(&world_options);
        Client a = client_new();
        Client b = client_new();
        Reply ra, rb, again;
        a.instance = "i";
        world_pair(world, &a, &b, &ra, &rb);
        Client fresh = a;
        fresh.id[0] = '\0';
        fresh.skips = skips;
        client_join(world, &fresh, &again);
        world_end_store(world, GROUP_STORED);
        CHECK_INT(again.skip_assignment, skips);
        CHECK_INT(again.members, skips ? 2 : 0);
        CHECK_STR(again.leader, again.member_id);
        world_free(world);
    }
}

TEST(a_static_member_whose_new_id_cannot_be_stored_is_told_so)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb, again;
    b.instance = "i";
    world_pair(world, &a, &b, &ra, &rb);
    Client fresh = b;
    fresh.id[0] = '\0';
    client_join(world, &fresh, &again);
    world_end_store(world, GROUP_FAILED);
    CHECK_INT(again.error, KAFKA_ERROR_COORDINATOR_NOT_AVAILABLE);
    client_join(world, &fresh, &again);
    CHECK(world->storing);
    world_end_store(world, GROUP_STORED);
    CHECK_INT(again.error, KAFKA_ERROR_NONE);
    world_free(world);
}

TEST(a_static_member_whose_session_ended_while_it_was_stored_has_another_one)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb, again;
    b.instance = "i";
    world_pair(world, &a, &b, &ra, &rb);
    Client fresh = b;
    fresh.id[0] = '\0';
    client_join(world, &fresh, &again);
    for (int half = 0; half < 4; half++) {
        world_pass(world, a.session_ms * 6 / 10);
        CHECK_INT(client_beat(world, &a), half < 3 ? KAFKA_ERROR_NONE : KAFKA_ERROR_REBALANCE_IN_PROGRESS);
        if (half == 1) {
            CHECK_INT(again.count, 0);
            world_end_store(world, GROUP_STORED);
            CHECK_INT(again.count, 1);
            client_learn(&fresh, &again);
        }
        if (half == 2) {
            CHECK_INT(group_member_count(world_group(world)), 2);
        }
    }
    CHECK_INT(group_member_count(world_group(world)), 1);
    CHECK_INT(client_beat(world, &fresh), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    world_free(world);
}

TEST(a_static_member_that_comes_back_during_a_sync_starts_a_rebalance)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb, again;
    b.instance = "i";
    client_enter(world, &a, &ra);
    client_enter(world, &b, &rb);
    world_pass(world, 3000);
    world_pass(world, 3000);
    client_learn(&a, &ra);
    client_learn(&b, &rb);
    client_sync(world, &b, &rb);
    Client fresh = b;
    fresh.id[0] = '\0';
    client_join(world, &fresh, &again);
    CHECK_INT(rb.error, KAFKA_ERROR_FENCED_INSTANCE_ID);
    CHECK_INT(group_state(world_group(world)), GROUP_PREPARING_REBALANCE);
    client_join(world, &a, &ra);
    CHECK_INT(again.generation, 2);
    world_free(world);
}

TEST(an_administrator_removes_a_static_member_by_its_instance_id)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Client b = client_new();
    Reply ra, rb;
    b.instance = "i";
    world_pair(world, &a, &b, &ra, &rb);
    CHECK_INT(client_leave(world, "", "j"), KAFKA_ERROR_UNKNOWN_MEMBER_ID);
    CHECK_INT(client_leave(world, "other", "i"), KAFKA_ERROR_FENCED_INSTANCE_ID);
    CHECK_INT(client_leave(world, "", "i"), KAFKA_ERROR_NONE);
    CHECK_INT(group_member_count(world_group(world)), 1);
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    world_free(world);
}

static void nothing_then(World *world, Group *group, void *argument)
{
    (void)world;
    (void)group;
    (void)argument;
}

TEST(a_loaded_group_goes_on_as_it_was_stored)
{
    World *world = world_new(&world_options);
    GroupProtocol protocol = { SLICE_LITERAL("range"), SLICE_LITERAL("m") };
    GroupStoredMember members[] = {
        { .member_id = SLICE_LITERAL("a"),
          .session_timeout_ms = 10000,
          .rebalance_timeout_ms = 20000,
          .protocols = &protocol,
          .protocol_count = 1,
          .assignment = SLICE_LITERAL("x") },
        { .member_id = SLICE_LITERAL("b"),
          .session_timeout_ms = 10000,
          .rebalance_timeout_ms = 20000,
          .protocols = &protocol,
          .protocol_count = 1,
          .assignment = SLICE_LITERAL("y") },
    };
    GroupClaim claim = { .outcome = GROUP_OPEN,
                         .group_id = 3,
                         .coordinator_epoch = 9,
                         .generation = 41,
                         .protocol_type = SLICE_LITERAL("consumer"),
                         .protocol_name = SLICE_LITERAL("range"),
                         .leader = SLICE_LITERAL("b"),
                         .members = members,
                         .member_count = 2 };
    world_open(world, "g", false, nothing_then, NULL);
    world_open(world, "g", false, nothing_then, NULL);
    CHECK_INT(world->claim_count, 1);
    world_answer_claim(world, &claim);
    CHECK_INT(world->opened, 2);
    Client a = client_new();
    snprintf(a.id, sizeof(a.id), "a");
    a.generation = 41;
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_NONE);
    Reply reply;
    client_sync(world, &a, &reply);
    CHECK_STR(reply.assignment, "x");
    world_pass(world, 9999);
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_NONE);
    world_pass(world, 1);
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    client_join(world, &a, &reply);
    CHECK_INT(reply.generation, 42);
    CHECK_STR(reply.leader, "a");
    world_free(world);
}

TEST(a_group_that_was_stored_without_a_leader_has_to_elect_one)
{
    World *world = world_new(&world_options);
    GroupProtocol protocol = { SLICE_LITERAL("range"), SLICE_LITERAL("m") };
    GroupStoredMember member = { .member_id = SLICE_LITERAL("a"),
                                 .session_timeout_ms = 10000,
                                 .rebalance_timeout_ms = 20000,
                                 .protocols = &protocol,
                                 .protocol_count = 1,
                                 .assignment = SLICE_LITERAL("x") };
    GroupClaim claim = { .outcome = GROUP_OPEN,
                         .group_id = 3,
                         .coordinator_epoch = 9,
                         .generation = 41,
                         .protocol_type = SLICE_LITERAL("consumer"),
                         .protocol_name = SLICE_LITERAL("range"),
                         .members = &member,
                         .member_count = 1 };
    world_open(world, "g", false, nothing_then, NULL);
    world_answer_claim(world, &claim);
    Client a = client_new();
    snprintf(a.id, sizeof(a.id), "a");
    a.generation = 41;
    CHECK_INT(client_beat(world, &a), KAFKA_ERROR_REBALANCE_IN_PROGRESS);
    Reply reply;
    client_join(world, &a, &reply);
    CHECK_INT(reply.generation, 42);
    CHECK_STR(reply.leader, "a");
    world_free(world);
}

TEST(a_group_that_is_not_there_or_not_ours_is_not_opened)
{
    World *world = world_new(&world_options);
    GroupClaim missing = { .outcome = GROUP_MISSING };
    GroupClaim other = { .outcome = GROUP_REFUSED, .error = KAFKA_ERROR_NOT_COORDINATOR };
    world_open(world, "g", false, nothing_then, NULL);
    world_answer_claim(world, &missing);
    CHECK_INT(world->outcome, GROUP_MISSING);
    world_open(world, "g", true, nothing_then, NULL);
    CHECK(world->claims[0].create);
    world_answer_claim(world, &other);
    CHECK_INT(world->outcome, GROUP_REFUSED);
    CHECK_INT(world->open_error, KAFKA_ERROR_NOT_COORDINATOR);
    world_open(world, "g", false, nothing_then, NULL);
    world_open(world, "g", true, nothing_then, NULL);
    world_answer_claim(world, &missing); /* asked for again: one of the two wants it made */
    CHECK_INT(world->opened, 2);
    CHECK(world->claims[0].create);
    world_give_empty(world, 0);
    CHECK_INT(world->opened, 4);
    CHECK_INT(groups_count(world->groups).groups, 0);
    world_free(world);
}

TEST(forgetting_tells_all_who_wait)
{
    World *world = world_new(&world_options);
    Client a = client_new();
    Reply ra;
    client_enter(world, &a, &ra);
    world_open(world, "h", false, nothing_then, NULL);
    groups_forget(world->groups);
    CHECK_INT(ra.error, KAFKA_ERROR_NOT_COORDINATOR);
    CHECK_INT(world->outcome, GROUP_REFUSED);
    CHECK_INT(groups_count(world->groups).groups, 0);
    world_free(world);
}

TEST(groups_that_become_due_during_a_store_go_together_in_the_next)
{
    World *world = world_new(&world_options);
    static const char *const names[] = { "g", "h", "i" };
    Client clients[3];
    Reply replies[3];
    for (int i = 0; i < 3; i++) {
        clients[i] = client_new();
        clients[i].group = names[i];
        client_enter(world, &clients[i], &replies[i]);
    }
    world_pass(world, 3000);
    for (int i = 0; i < 3; i++) {
        client_learn(&clients[i], &replies[i]);
        GroupSync sync = { .member_id = slice_of_text(clients[i].id),
                           .instance_id = SLICE_NULL,
                           .generation = 1,
                           .protocol_type = SLICE_NULL,
                           .protocol_name = SLICE_NULL };
        replies[i] = (Reply){ .wait = { .answered = reply_answered } };
        group_sync(groups_find(world->groups, slice_of_text(names[i])), &sync, &replies[i].wait);
        world_tick(world);
    }
    CHECK_INT(world->stored_count, 1);
    world_end_store(world, GROUP_STORED);
    CHECK_INT(world->stored_count, 2);
    world_end_store(world, GROUP_STORED);
    CHECK_INT(replies[0].count + replies[1].count + replies[2].count, 3);
    CHECK_INT(groups_count(world->groups).rebalances, 3);
    world_free(world);
}
