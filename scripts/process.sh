# shellcheck shell=bash
# process.sh: processes that outlive the script that started them, remembered by pid and start time, so that only what was
# started here is ever ended. Sourced; defines functions only.

# A process id may be given to somebody else later; together with its start time it is unique until the next boot. A zombie
# has none: where nobody reaps orphans (a container), the dead keep their place.
process_start_time() {
    local stat
    stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
    stat=${stat##*) }
    # shellcheck disable=SC2086 # the fields of that file are words
    set -- $stat
    [[ $1 != [ZX] ]] && printf '%s\n' "${20}"
}

# process_launch FILE LOG command…: starts it in a session of its own and notes in FILE who it is.
process_launch() {
    local file=$1 log=$2 pid
    shift 2
    setsid -- "$@" >>"$log" 2>&1 </dev/null &
    pid=$!
    printf '%s %s\n' "$pid" "$(process_start_time "$pid")" >"$file"
}

# Prints the pid that FILE notes, if that very process still runs.
process_pid() {
    local pid started
    read -r pid started 2>/dev/null <"$1" || return 1
    [[ -n $started && $(process_start_time "$pid") == "$started" ]] && printf '%s\n' "$pid"
}

# process_end FILE SECONDS: asks it to end, and insists when it has not after that many seconds.
process_end() {
    local file=$1 patience=$(($2 * 10)) pid
    pid=$(process_pid "$file") || { rm -f "$file"; return 0; }
    kill -TERM "$pid"
    while process_pid "$file" >/dev/null && [[ $patience -gt 0 ]]; do
        sleep 0.1
        patience=$((patience - 1))
    done
    if process_pid "$file" >/dev/null; then
        kill -KILL "$pid"
    fi
    rm -f "$file"
}

# port_choose PREFERRED: that port of the loopback interface if it is free, any free one otherwise.
port_choose() {
    /usr/bin/python3 - "$1" <<'PYTHON'
import socket, sys
for port in (int(sys.argv[1]), 0):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        print(probe.getsockname()[1])
        break
PYTHON
}
