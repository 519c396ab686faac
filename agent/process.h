/* process.h: what the process uses of the machine, and its limits. */
#ifndef STREAMHOUSE_AGENT_PROCESS_H
#define STREAMHOUSE_AGENT_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

/* Gives the process_* metrics and the build info their values. */
void process_measure(void);
/* Raises the limit of open files to what the system allows and returns it. */
int64_t process_raise_files(void);
/* As many of the wanted connections as open files allow, beside what else the agent needs. */
int process_connections_max(int wanted);
void process_limit_cores(bool wanted);

/* Has malloc keep what is freed, within limits, instead of giving it back to the system and taking it again:
 * blocks of a megabyte come and go hundreds of times a second, and the kernel clears every page it hands out.
 */
void process_keep_memory(void);

#endif
