# shellcheck shell=bash
# agent.sh: starts and stops one agent that belongs to a state folder. Sourced; needs say.sh and process.sh.

AGENT_BINARY=${AGENT_BINARY:-$ROOT/build/release/streamhouse-agent}

# agent_start STATE: expects STREAMHOUSE_KAFKA, STREAMHOUSE_HTTP (http://host:port), STREAMHOUSE_STORE and the PG* variables.
agent_start() {
    local state=$1
    process_launch "$state/agent.pid" "$state/agent.log" "$AGENT_BINARY" \
        --database="host=$PGHOST port=$PGPORT dbname=$PGDATABASE user=agent" \
        --kafka-port="${STREAMHOUSE_KAFKA##*:}" \
        --http-port="${STREAMHOUSE_HTTP##*:}" \
        --store="$STREAMHOUSE_STORE" \
        --s3-endpoint="${AWS_ENDPOINT_URL_S3:-${AWS_ENDPOINT_URL:-}}" \
        --agent-name=quickstart
}

agent_stop() {
    process_end "$1/agent.pid" 30
}

agent_is_running() {
    process_pid "$1/agent.pid" >/dev/null
}

# Whether the program on disk is another than the one that runs.
agent_is_outdated() {
    local pid
    pid=$(process_pid "$1/agent.pid") && [[ ! "/proc/$pid/exe" -ef $AGENT_BINARY ]]
}

# Waits until the agent says that it is ready; when it does not become so, says what it said last.
agent_await() {
    local state=$1 tries=300
    while [[ $tries -gt 0 ]]; do
        if ! agent_is_running "$state"; then
            echo "The agent ended:"
            tail -n 20 "$state/agent.log"
            return 1
        fi
        if curl -sf -o /dev/null --max-time 2 "$STREAMHOUSE_HTTP/ready"; then
            return 0
        fi
        sleep 0.1
        tries=$((tries - 1))
    done
    echo "The agent is not ready after 30 seconds:"
    curl -s --max-time 2 "$STREAMHOUSE_HTTP/ready"
    tail -n 20 "$state/agent.log"
    return 1
}
