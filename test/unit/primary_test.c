/* primary_test.c: where the next attempt to connect begins, and which timelines are believed. */
#include "test/unit/test.h"

#include <stdlib.h>
#include <string.h>

#include "agent/brain/primary.h"

static Primary primary;

static void hosts(const char *conninfo)
{
    PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
    primary_free(&primary);
    CHECK(primary_init(&primary, options));
    PQconninfoFree(options);
}

static bool turned_is(HostList which, const char *expected)
{
    char *turned = primary_turned(&primary, which);
    bool same = expected ? turned && strcmp(turned, expected) == 0 : !turned;
    free(turned);
    return same;
}

TEST(a_host_that_failed_is_tried_last)
{
    hosts("host=a,b,c port=1,2,3");
    CHECK(turned_is(HOST_NAMES, "a,b,c"));
    primary_blame(&primary, 0);
    CHECK(turned_is(HOST_NAMES, "b,c,a"));
    CHECK(turned_is(HOST_PORTS, "2,3,1"));
    CHECK(turned_is(HOST_ADDRESSES, NULL));
    primary_blame(&primary, 1);
    primary_blame(&primary, 2);
    CHECK(turned_is(HOST_NAMES, "a,b,c"));
}

TEST(the_loss_of_many_connections_to_one_host_turns_the_list_once)
{
    hosts("postgresql://user@a:1,b:2/db");
    for (int i = 0; i < 7; i++) {
        primary_blame(&primary, 0);
    }
    CHECK(turned_is(HOST_NAMES, "b,a"));
}

TEST(attempts_begin_where_the_primary_was_found)
{
    hosts("host=a,a,b port=1,2,3");
    CHECK_INT(primary_found(&primary, "a", "2"), 1);
    CHECK(turned_is(HOST_PORTS, "2,3,1"));
    CHECK_INT(primary_found(&primary, "nowhere", "2"), 1);
    hosts("hostaddr=10.0.0.1,10.0.0.2");
    CHECK_INT(primary_found(&primary, "10.0.0.2", "5432"), 1);
    CHECK(turned_is(HOST_ADDRESSES, "10.0.0.2,10.0.0.1"));
}

TEST(one_port_stands_for_all_hosts_and_one_host_is_never_turned)
{
    hosts("host=a,b port=7");
    primary_blame(&primary, 0);
    CHECK(turned_is(HOST_NAMES, "b,a"));
    CHECK(turned_is(HOST_PORTS, NULL));
    CHECK_INT(primary_found(&primary, "a", "7"), 0);
    hosts("host=a port=7");
    primary_blame(&primary, 0);
    CHECK(turned_is(HOST_NAMES, NULL));
    hosts("dbname=x");
    primary_blame(&primary, 0);
    CHECK(turned_is(HOST_NAMES, NULL));
}

TEST(lists_of_different_lengths_and_empty_elements_are_left_to_libpq)
{
    hosts("host=a,b,c port=1,2");
    primary_blame(&primary, 0);
    CHECK(turned_is(HOST_NAMES, "b,c,a"));
    CHECK(turned_is(HOST_PORTS, NULL));
    hosts("host=a,, port=,,");
    primary_blame(&primary, 0);
    CHECK(turned_is(HOST_NAMES, ",,a"));
    CHECK(turned_is(HOST_PORTS, ",,"));
}

TEST(an_older_timeline_is_refused_once_a_newer_one_was_seen)
{
    hosts("host=a,b");
    CHECK_INT(primary_meet(&primary, 3), PRIMARY_AS_BEFORE);
    CHECK_INT(primary_meet(&primary, 3), PRIMARY_AS_BEFORE);
    CHECK_INT(primary_meet(&primary, 4), PRIMARY_PROMOTED);
    CHECK_INT(primary_meet(&primary, 4), PRIMARY_AS_BEFORE);
    CHECK_INT(primary_meet(&primary, 3), PRIMARY_OUTDATED);
    CHECK_INT(primary_meet(&primary, 7), PRIMARY_PROMOTED);
    CHECK_INT(primary_meet(&primary, 4), PRIMARY_OUTDATED);
}

TEST(a_standby_that_somebody_asked_for_has_no_timeline)
{
    hosts("host=a,b");
    CHECK_INT(primary_meet(&primary, 0), PRIMARY_AS_BEFORE);
    CHECK_INT(primary_meet(&primary, 2), PRIMARY_AS_BEFORE);
    CHECK_INT(primary_meet(&primary, 0), PRIMARY_AS_BEFORE);
}
