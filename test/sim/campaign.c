/* campaign.c: one world is used for all schedules, so that a schedule costs what happens in it. */
#include "test/sim/campaign.h"

#include <inttypes.h>
#include <stdio.h>
#include <fcntl.h>
#include <time.h>

#include "agent/journal.h"

enum {
    LEASES_EVERY = 4, /* of that many seeds, one has no producers */
    PROGRESS_NS = 2000000000,
    CLOCK_EVERY = 256,
    COVERED_BY = 20000 /* schedules that should meet everything */
};

static int64_t machine_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static SimConfig campaign_config(const Campaign *campaign, uint64_t seed)
{
    bool leases =
        campaign->layer == LAYER_LEASES || (campaign->layer == LAYER_MIXED && seed % LEASES_EVERY == 0);
    return config_draw(seed, leases);
}

static void campaign_progress(const Campaign *campaign)
{
    double seconds = (double)campaign->took_ns / 1e9;
    printf("# %" PRIu64 " schedules, %" PRIu64 " steps in %.1f s: %.0f schedules/s, %.2f million steps/s\n",
           campaign->done, campaign->steps, seconds, (double)campaign->done / seconds,
           (double)campaign->steps / seconds / 1e6);
    fflush(stdout);
}

static void campaign_count(Campaign *campaign, const Sim *sim)
{
    campaign->done++;
    campaign->steps += sim->steps;
    for (uint64_t left = sim->covered; left; left &= left - 1) {
        campaign->met[__builtin_ctzll(left)]++;
    }
}

/* What the log has to say of faults would be millions of lines. */
static void campaign_silence(void)
{
    static int nowhere = -1;
    if (nowhere < 0) {
        nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
        journal_to(nowhere);
    }
    journal_configure(JOURNAL_ERROR, JOURNAL_TEXT);
}

void campaign_run(Campaign *campaign)
{
    campaign_silence();
    Sim *sim = sim_new();
    int64_t began_ns = machine_ns();
    int64_t told_ns = began_ns;
    while (campaign->done < campaign->schedules && !campaign->wrong) {
        uint64_t seed = campaign->first_seed + campaign->done;
        SimConfig config = campaign_config(campaign, seed);
        sim_run(sim, seed, &config);
        campaign_count(campaign, sim);
        campaign->wrong = sim->wrong;
        campaign->wrong_seed = seed;
        if (!campaign->quiet && campaign->done % CLOCK_EVERY == 0 && machine_ns() - told_ns > PROGRESS_NS) {
            told_ns = machine_ns();
            campaign->took_ns = told_ns - began_ns;
            campaign_progress(campaign);
        }
    }
    campaign->took_ns = machine_ns() - began_ns;
    campaign_progress(campaign);
    sim_free(sim);
}

/* Of a run without producers there is less to be met. */
static bool cover_is_of_leases(Cover cover)
{
    return cover <= COVER_REPLACED && cover != COVER_PARKED;
}

bool campaign_print_coverage(const Campaign *campaign)
{
    static const char *const texts[] = {
#define COVER_TEXT(id, text) text,
        COVERAGE(COVER_TEXT)
#undef COVER_TEXT
    };
    bool complete = true;
    for (int i = 0; i < COVERS; i++) {
        bool wanted = campaign->layer != LAYER_LEASES || cover_is_of_leases((Cover)i);
        bool missing = campaign->met[i] == 0 && wanted && campaign->done >= COVERED_BY;
        printf("# %9" PRIu64 "  %s%s\n", campaign->met[i], texts[i], missing ? "  <- NEVER" : "");
        complete = complete && !missing;
    }
    return complete;
}

/* Tries a smaller value of one field; true when the schedule still goes wrong, and then config is it. */
static bool shrink_field(Sim *sim, uint64_t seed, SimConfig *config, int field, int value)
{
    SimConfig smaller = *config;
    if (value >= *config_field(config, field) || value < sim_fields[field].least) {
        return false;
    }
    *config_field(&smaller, field) = value;
    sim_run(sim, seed, &smaller);
    if (!sim->wrong) {
        return false;
    }
    *config = smaller;
    return true;
}

static void shrink(Sim *sim, uint64_t seed, SimConfig *config)
{
    bool shrunk = true;
    while (shrunk) {
        shrunk = false;
        for (int i = 0; i < SIM_FIELDS; i++) {
            int value = *config_field(config, i);
            int least = sim_fields[i].least;
            shrunk = shrink_field(sim, seed, config, i, least) ||
                     shrink_field(sim, seed, config, i, least + (value - least) / 2) ||
                     shrink_field(sim, seed, config, i, value - 1 - value / 8) || shrunk;
        }
    }
}

void campaign_explain(const Campaign *campaign)
{
    Sim *sim = sim_new();
    SimConfig config = campaign_config(campaign, campaign->wrong_seed);
    sim_run(sim, campaign->wrong_seed, &config);
    uint64_t steps = sim->steps;
    shrink(sim, campaign->wrong_seed, &config);
    sim->traced = true;
    printf("# seed %" PRIu64 ": %s\n#", campaign->wrong_seed, campaign->wrong);
    for (int i = 0; i < SIM_FIELDS; i++) {
        printf(" %s=%d", sim_fields[i].name, *config_field(&config, i));
    }
    printf("\n");
    sim_run(sim, campaign->wrong_seed, &config);
    printf("# %" PRIu64 " steps, made from %" PRIu64 "; again: test/sim/run --schedules 1 --seed %" PRIu64
           "\n",
           sim->steps, steps, campaign->wrong_seed);
    sim_free(sim);
}
