/* simulate.c: the program behind test/sim/run. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/journal.h"
#include "test/sim/campaign.h"

static _Noreturn void usage(void)
{
    printf("usage: test/sim/run [--schedules N] [--seed S] [--layer mixed|leases|log]\n"
           "Schedules have the seeds S, S + 1 and so on. On a violation: seed, trace, exit status 1.\n");
    exit(2);
}

static Layer layer_named(const char *name)
{
    static const char *const names[] = {
        [LAYER_MIXED] = "mixed", [LAYER_LEASES] = "leases", [LAYER_LOG] = "log"
    };
    for (int i = 0; i <= LAYER_LOG; i++) {
        if (strcmp(name, names[i]) == 0) {
            return (Layer)i;
        }
    }
    usage();
}

static uint64_t number_of(const char *text)
{
    char *end;
    uint64_t number = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0') {
        usage();
    }
    return number;
}

int main(int argument_count, char **arguments)
{
    Campaign campaign = { .first_seed = 1, .schedules = 1000000 };
    for (int i = 1; i < argument_count; i += 2) {
        const char *value = i + 1 < argument_count ? arguments[i + 1] : "";
        if (strcmp(arguments[i], "--schedules") == 0) {
            campaign.schedules = number_of(value);
        } else if (strcmp(arguments[i], "--seed") == 0) {
            campaign.first_seed = number_of(value);
        } else if (strcmp(arguments[i], "--layer") == 0) {
            campaign.layer = layer_named(value);
        } else {
            usage();
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    campaign_run(&campaign);
    bool complete = campaign_print_coverage(&campaign);
    if (campaign.wrong) {
        campaign_explain(&campaign);
    }
    printf("%s\n", campaign.wrong ? "VIOLATION" : complete ? "ok" : "INCOMPLETE: something was never met");
    return campaign.wrong || !complete;
}
