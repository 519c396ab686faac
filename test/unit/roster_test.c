/* roster_test.c: what an agent may say to a member without asking: nothing that it is not sure of. */
#include "agent/roster/roster.h"
#include "test/unit/test.h"

enum { INTERVAL_MS = 5000, TIMEOUT_MS = 45000, NOW_MS = 1000000 };

static const RosterBeat beat_a = { SLICE_LITERAL("g"), SLICE_LITERAL("a"), { NULL, 0 }, 3 };
static const RosterAnswer settled = { 7, 42, true, INTERVAL_MS, TIMEOUT_MS };

static bool knows(Roster *roster, RosterBeat beat, int64_t now_ms)
{
    int32_t interval_ms = 0;
    bool known = roster_knows(roster, &beat, now_ms, &interval_ms);
    return known && interval_ms == INTERVAL_MS;
}

static Roster *roster_of_a(void)
{
    Roster *roster = roster_new(1 << 20);
    roster_learn(roster, &beat_a, &settled, NOW_MS);
    return roster;
}

TEST(a_settled_member_is_known_as_long_as_its_group_was_asked_about_lately)
{
    Roster *roster = roster_of_a();
    CHECK(knows(roster, beat_a, NOW_MS + ROSTER_FRESH_MS));
    CHECK(!knows(roster, beat_a, NOW_MS + ROSTER_FRESH_MS + 1));
    roster_confirm(roster, 7, 42, NOW_MS + 3000);
    CHECK(knows(roster, beat_a, NOW_MS + 3000 + ROSTER_FRESH_MS));
    CHECK(!knows(roster, beat_a, NOW_MS + 3000 + ROSTER_FRESH_MS + 1));
    roster_free(roster);
}

TEST(another_version_of_the_group_makes_its_members_unknown_until_they_are_answered)
{
    Roster *roster = roster_of_a();
    RosterBeat beat_b = beat_a;
    RosterAnswer later = settled;
    beat_b.member_id = SLICE_LITERAL("b");
    later.version = 43;
    roster_learn(roster, &beat_b, &later, NOW_MS);
    CHECK(!knows(roster, beat_a, NOW_MS));
    CHECK(knows(roster, beat_b, NOW_MS));
    roster_learn(roster, &beat_a, &later, NOW_MS);
    CHECK(knows(roster, beat_a, NOW_MS));
    roster_confirm(roster, 7, 44, NOW_MS);
    CHECK(!knows(roster, beat_a, NOW_MS));
    CHECK(!knows(roster, beat_b, NOW_MS));
    roster_free(roster);
}

TEST(another_epoch_or_instance_or_an_unsettled_member_is_not_known)
{
    Roster *roster = roster_of_a();
    RosterBeat other = beat_a;
    other.epoch = 2;
    CHECK(!knows(roster, other, NOW_MS));
    other = beat_a;
    other.instance_id = SLICE_LITERAL("");
    CHECK(!knows(roster, other, NOW_MS));
    RosterAnswer unsettled = settled;
    unsettled.settled = false;
    roster_learn(roster, &beat_a, &unsettled, NOW_MS);
    CHECK(!knows(roster, beat_a, NOW_MS));
    roster_free(roster);
}

TEST(who_leaves_is_forgotten_and_its_group_is_in_doubt)
{
    Roster *roster = roster_of_a();
    RosterBeat beat_b = beat_a;
    beat_b.member_id = SLICE_LITERAL("b");
    roster_learn(roster, &beat_b, &settled, NOW_MS);
    roster_forget(roster, beat_a.group, beat_b.member_id);
    CHECK_INT(roster_member_count(roster), 1);
    CHECK(!knows(roster, beat_a, NOW_MS));
    roster_confirm(roster, 7, 42, NOW_MS);
    CHECK(knows(roster, beat_a, NOW_MS));
    roster_free(roster);
}

TEST(a_group_that_was_made_again_has_none_of_the_old_members)
{
    Roster *roster = roster_of_a();
    RosterBeat beat_b = beat_a;
    RosterAnswer again = settled;
    beat_b.member_id = SLICE_LITERAL("b");
    again.group_id = 8;
    roster_learn(roster, &beat_b, &again, NOW_MS);
    CHECK(!knows(roster, beat_a, NOW_MS));
    CHECK(knows(roster, beat_b, NOW_MS));
    int32_t group_ids[2];
    CHECK_INT(roster_groups(roster, group_ids, 2), 1);
    CHECK_INT(group_ids[0], 8);
    roster_free(roster);
}

TEST(the_brain_is_told_of_a_member_once_in_an_eighth_of_its_timeout)
{
    Roster *roster = roster_of_a();
    RosterSeen seen[2];
    CHECK_INT(roster_take_seen(roster, NOW_MS + TIMEOUT_MS, seen, 2), 0);
    CHECK(knows(roster, beat_a, NOW_MS + 1000));
    CHECK_INT(roster_take_seen(roster, NOW_MS + TIMEOUT_MS / 8 - 1, seen, 2), 0);
    CHECK_INT(roster_take_seen(roster, NOW_MS + TIMEOUT_MS / 8, seen, 0), 0);
    CHECK_INT(roster_take_seen(roster, NOW_MS + TIMEOUT_MS / 8, seen, 2), 1);
    CHECK_INT(seen[0].group_id, 7);
    CHECK(slice_equals(seen[0].member_id, beat_a.member_id));
    CHECK_INT(seen[0].age_ms, TIMEOUT_MS / 8 - 1000);
    CHECK_INT(roster_take_seen(roster, NOW_MS + TIMEOUT_MS, seen, 2), 0);
    roster_free(roster);
}

TEST(a_member_that_the_brain_could_not_be_told_of_asks_it)
{
    Roster *roster = roster_of_a();
    int64_t late_ms = NOW_MS + TIMEOUT_MS / 2;
    roster_confirm(roster, 7, 42, late_ms);
    CHECK(knows(roster, beat_a, late_ms));
    CHECK(!knows(roster, beat_a, late_ms + 1));
    roster_learn(roster, &beat_a, &settled, late_ms + 1);
    CHECK(knows(roster, beat_a, late_ms + 2));
    roster_free(roster);
}

TEST(the_silent_are_swept_and_give_their_memory_back)
{
    Roster *roster = roster_of_a();
    CHECK(roster_bytes(roster) > 0);
    roster_sweep(roster, NOW_MS + 2 * TIMEOUT_MS);
    CHECK_INT(roster_member_count(roster), 1);
    roster_sweep(roster, NOW_MS + 2 * TIMEOUT_MS + 1);
    CHECK_INT(roster_member_count(roster), 0);
    CHECK_INT(roster_bytes(roster), 0);
    CHECK_INT(roster_groups(roster, NULL, 0), 0);
    roster_free(roster);
}

TEST(no_more_memory_is_taken_than_allowed)
{
    enum { BYTES_MAX = 4096 };
    Roster *roster = roster_new(BYTES_MAX);
    for (int i = 0; i < 1000; i++) {
        char id[16];
        RosterBeat beat = beat_a;
        snprintf(id, sizeof(id), "m%d", i);
        beat.member_id = slice_of_text(id);
        roster_learn(roster, &beat, &settled, NOW_MS);
        CHECK(roster_bytes(roster) <= BYTES_MAX);
    }
    CHECK(roster_member_count(roster) > 3 && roster_member_count(roster) < 100);
    roster_resize(roster, 0);
    roster_learn(roster, &beat_a, &settled, NOW_MS);
    CHECK(!knows(roster, beat_a, NOW_MS));
    roster_free(roster);
}
