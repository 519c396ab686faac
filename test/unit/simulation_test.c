/* simulation_test.c: some thousand schedules of test/sim, which has the whole of it: agents, clients,
 * PostgreSQL and store, in virtual time. A schedule is repeated by its number: test/sim/run --schedules 1
 * --seed 123 */
#include <stdlib.h>

#include "test/sim/campaign.h"
#include "test/unit/test.h"

enum { SCHEDULES = TEST_SANITIZED ? 600 : 6000 };

static Campaign campaign(Layer layer)
{
    const char *seed = getenv("STREAMHOUSE_SEED");
    Campaign campaign = { .first_seed = seed ? strtoull(seed, NULL, 10) : 1,
                          .schedules = SCHEDULES,
                          .layer = layer,
                          .quiet = true };
    campaign_run(&campaign);
    (void)campaign_print_coverage(&campaign);
    if (campaign.wrong) {
        campaign_explain(&campaign);
    }
    return campaign;
}

TEST(whatever_agents_clocks_and_postgresql_do_no_agent_serves_what_another_leads)
{
    CHECK_STR(campaign(LAYER_LEASES).wrong ? "violated" : "held", "held");
}

TEST(whatever_fails_each_acknowledged_batch_is_in_the_log_once_and_in_its_producers_order)
{
    Campaign done = campaign(LAYER_LOG);
    CHECK_STR(done.wrong ? "violated" : "held", "held");
    static const Cover must[] = { COVER_FENCED,    COVER_DUPLICATE, COVER_IN_DOUBT,
                                  COVER_HANDED,    COVER_EXPIRY,    COVER_PAUSE,
                                  COVER_KEPT_OPEN, COVER_INLINE,    COVER_KEPT_ANSWER };
    for (size_t i = 0; i < sizeof(must) / sizeof(must[0]); i++) {
        CHECK(done.met[must[i]] > 0);
    }
}
