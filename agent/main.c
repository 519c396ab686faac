/* main.c: reads the settings and does what the command line asks for: to run, mostly. Exit codes: 0 drained,
 * 1 failed, 2 wrong settings, 130 told twice to stop. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "agent/agent.h"

enum { EXIT_SETTINGS = 2 };

static int printed(void)
{
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argument_count, char **arguments)
{
    static Agent agent;
    Settings settings;
    Status status = settings_load(argument_count, arguments, environ, &settings);
    if (!status_is_ok(&status)) {
        fprintf(stderr, "streamhouse-agent: %s\n", status.message);
        return EXIT_SETTINGS;
    }
    SettingsAction action = settings.action;
    if (action == SETTINGS_RUN) {
        return agent_run(&agent, &settings, agent_modules);
    }
    if (action == SETTINGS_HELP) {
        settings_print_help(stdout);
    } else if (action == SETTINGS_DOCS) {
        settings_print_docs(stdout);
    } else if (action == SETTINGS_SHOW) {
        settings_print_values(&settings, stdout);
    } else {
        puts("streamhouse-agent " STREAMHOUSE_VERSION);
    }
    settings_free(&settings);
    return printed();
}
