/* modules.c: the agent's modules in starting order. They drain and stop in the reverse order. */
#include "agent/agent.h"

const Module agent_modules[] = {
    { .name = NULL },
};
