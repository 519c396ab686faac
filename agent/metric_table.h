/* metric_table.h: every metric of the agent, one row each; included several times with METRIC defined (metrics.h).
 *
 *   METRIC(ID, TYPE, name, labels, help)
 *
 * TYPE is COUNTER, GAUGE, SECONDS (a histogram of durations) or BYTES (a histogram of sizes). Names follow Prometheus:
 * streamhouse_<what>_<unit>, counters end in _total, units are base units (seconds, bytes). labels is the text between
 * the braces, "" for none. Rows of one name stand next to each other and have the same type and help. */
/* clang-format off */
METRIC(BUILD_INFO, GAUGE, "streamhouse_build_info", "version=\"" STREAMHOUSE_VERSION "\"", "Always 1; the version that runs is in the label.")
METRIC(AGENT_READY, GAUGE, "streamhouse_agent_ready", "", "1 when every condition of /ready holds.")
METRIC(AGENT_RELOADS, COUNTER, "streamhouse_agent_reloads_total", "", "Reloads of the settings by SIGHUP that succeeded.")

METRIC(PROCESS_CPU, COUNTER, "process_cpu_seconds_total", "", "User and system CPU time spent.")
METRIC(PROCESS_RESIDENT, GAUGE, "process_resident_memory_bytes", "", "Resident memory.")
METRIC(PROCESS_VIRTUAL, GAUGE, "process_virtual_memory_bytes", "", "Virtual memory.")
METRIC(PROCESS_OPEN_FDS, GAUGE, "process_open_fds", "", "Open file descriptors.")
METRIC(PROCESS_MAX_FDS, GAUGE, "process_max_fds", "", "Most file descriptors that may be open.")
METRIC(PROCESS_START, GAUGE, "process_start_time_seconds", "", "When the process started, since 1970.")

METRIC(HTTP_REQUESTS_OK, COUNTER, "streamhouse_http_requests_total", "status=\"2xx\"", "HTTP requests answered, by class of status.")
METRIC(HTTP_REQUESTS_REFUSED, COUNTER, "streamhouse_http_requests_total", "status=\"4xx\"", "HTTP requests answered, by class of status.")
METRIC(HTTP_REQUESTS_FAILED, COUNTER, "streamhouse_http_requests_total", "status=\"5xx\"", "HTTP requests answered, by class of status.")
METRIC(HTTP_CONNECTIONS, GAUGE, "streamhouse_http_connections", "", "HTTP connections that are open.")
/* clang-format on */
