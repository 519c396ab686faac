#!/bin/sh
# brain_postgres.sh: a private PostgreSQL for brain_fixture.h.   create|start|stop|kill|remove FOLDER [PORT]
# PostgreSQL refuses to run as root, so root becomes user postgres.
set -eu
action=$1 folder=$2 port=${3:-0}
bin=$(pg_config --bindir)
as_server() {
    if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; else "$@"; fi
}
cd /
case $action in
create)
    if [ "$(id -u)" = 0 ]; then chown postgres:postgres "$folder"; fi
    as_server "$bin/initdb" --pgdata "$folder/data" --username postgres --auth trust --no-sync --no-locale --encoding UTF8 >/dev/null
    as_server tee -a "$folder/data/postgresql.conf" >/dev/null <<END
port = $port
listen_addresses = '127.0.0.1'
unix_socket_directories = '$folder'
fsync = off
shared_buffers = 16MB
max_connections = 30
END
    printf 'host all needs_password 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\n' |
        as_server tee "$folder/data/pg_hba.conf" >/dev/null
    ;;
start)
    as_server "$bin/pg_ctl" --pgdata "$folder/data" --log "$folder/data/server.log" --wait --silent start >/dev/null
    ;;
stop)
    as_server "$bin/pg_ctl" --pgdata "$folder/data" --mode fast --wait --silent stop >/dev/null
    ;;
kill)
    read -r pid <"$folder/data/postmaster.pid"
    children=$(cat "/proc/$pid/task/$pid/children")
    # shellcheck disable=SC2086
    kill -9 "$pid" $children 2>/dev/null || true
    for process in $pid $children; do
        while kill -0 "$process" 2>/dev/null; do sleep 0.01; done
    done
    rm -f "$folder/data/postmaster.pid"
    ;;
remove)
    as_server "$bin/pg_ctl" --pgdata "$folder/data" --mode immediate --wait --silent stop >/dev/null 2>&1 || true
    rm -rf "$folder"
    ;;
esac
