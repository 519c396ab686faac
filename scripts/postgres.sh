#!/usr/bin/env bash
# postgres.sh: a private PostgreSQL in a folder of its own, reached by its socket alone, run by somebody who is not root.
#   postgres.sh create DIR [name=value …]   makes the cluster, with those settings
#   postgres.sh standby DIR PRIMARY [name=value …]   makes a standby of the running cluster in PRIMARY
#   postgres.sh copy DIR PRIMARY [name=value …]   makes a copy of it, a base backup, that knows nothing of the original
#   postgres.sh promote DIR                 makes a running standby a primary
#   postgres.sh start DIR | stop DIR [fast|immediate] | status DIR
#   postgres.sh env DIR                     prints shell exports for psql and its kin
# Sourced, it defines the same as functions: postgres_create and so on. DIR is an absolute path.

postgres_bindir() {
    "${PG_CONFIG:-pg_config}" --bindir
}

# The user that a cluster runs as: PostgreSQL refuses root, so root hands it to the distribution's own user.
postgres_user() {
    if [[ $EUID -eq 0 ]]; then
        echo postgres
    else
        id -un
    fi
}

# Runs a command as that user, from a folder that everybody may enter.
as_postgres() (
    cd /
    if [[ $EUID -ne 0 ]]; then
        exec "$@"
    fi
    exec setpriv --reuid=postgres --regid=postgres --init-groups -- env HOME=/tmp LOGNAME=postgres "$@"
)

# postgres_home STATE: where the cluster of a state folder may live. That is STATE/postgres, unless PostgreSQL's user
# cannot get there (a clone below /root) or the socket's name would exceed what the kernel takes (107 bytes); then
# STATE/postgres is a link to a folder that fits.
postgres_home() {
    local state=$1 home=$1/postgres elsewhere parent=/var/lib/postgresql
    if [[ -L $home ]]; then
        readlink "$home"
        return
    fi
    if [[ ! -d $home ]]; then
        [[ $EUID -eq 0 ]] || parent=$HOME
        elsewhere=$parent/.streamhouse-$(printf '%s' "$state" | sha256sum | cut -c1-12)
        while [[ -e $elsewhere ]]; do
            elsewhere+=-again # of a clone that was here before and was removed without a reset
        done
        if [[ ${#home} -gt 75 ]] || ! as_postgres test -x "$state"; then
            ln -s "$elsewhere" "$home"
            home=$elsewhere
        fi
    fi
    printf '%s\n' "$home"
}

postgres_folders() {
    mkdir -p "$1"
    install -d -m 0700 -o "$(postgres_user)" "$1/data" "$1/socket"
    install -m 0600 -o "$(postgres_user)" /dev/null "$1/log"
}

postgres_initdb() {
    local home=$1 sync=()
    shift
    [[ " $* " != *" fsync=off "* ]] || sync=(--no-sync)
    as_postgres "$(postgres_bindir)/initdb" --pgdata="$home/data" --username=streamhouse --auth-local=trust \
        --auth-host=reject --encoding=UTF8 --locale=C.UTF-8 --no-instructions "${sync[@]}" >>"$home/log"
}

# With POSTGRES_TEMPLATE, the data folder of a stopped cluster, this is a copy of that: tests make many, and initdb takes long.
postgres_create() {
    local home=$1
    shift
    postgres_folders "$home"
    if [[ -n ${POSTGRES_TEMPLATE:-} ]]; then
        as_postgres cp -a "$POSTGRES_TEMPLATE/." "$home/data" || return 1
    else
        postgres_initdb "$home" "$@" || return 1
    fi
    postgres_settings "$home" "$@" >>"$home/data/postgresql.conf"
}

# The settings that follow outdo those that were copied with the primary's.
postgres_copy() {
    local home=$1 primary=$2
    shift 2
    postgres_folders "$home"
    as_postgres "$(postgres_bindir)/pg_basebackup" --pgdata="$home/data" --host="$primary/socket" --port="$(postgres_port "$primary")" \
        --username=streamhouse --checkpoint=fast --wal-method=stream ${POSTGRES_BACKUP_FLAG:+"$POSTGRES_BACKUP_FLAG"} >>"$home/log" || return 1
    postgres_settings "$home" "$@" >>"$home/data/postgresql.conf"
}

postgres_standby() {
    POSTGRES_BACKUP_FLAG=--write-recovery-conf postgres_copy "$@"
}

postgres_promote() {
    as_postgres "$(postgres_bindir)/pg_ctl" promote --wait --timeout=120 --silent --pgdata="$1/data"
}

# Only the socket listens: nobody but its owner (and root) can knock, so that trust is safe there.
postgres_settings() {
    local home=$1 setting
    shift
    cat <<SETTINGS
listen_addresses = ''
unix_socket_directories = '$home/socket'
unix_socket_permissions = 0700
log_line_prefix = '%m [%p] %u %a '
max_connections = 100
SETTINGS
    for setting; do
        printf "%s = '%s'\n" "${setting%%=*}" "${setting#*=}"
    done
}

postgres_status() {
    as_postgres "$(postgres_bindir)/pg_ctl" status --pgdata="$1/data" >/dev/null 2>&1
}

postgres_start() {
    local home=$1
    if postgres_status "$home"; then
        return 0
    fi
    as_postgres "$(postgres_bindir)/pg_ctl" start --wait --timeout=120 --silent --pgdata="$home/data" --log="$home/log" </dev/null
}

postgres_stop() {
    local home=$1
    if ! postgres_status "$home"; then
        return 0
    fi
    as_postgres "$(postgres_bindir)/pg_ctl" stop --wait --timeout=120 --silent --mode="${2:-fast}" --pgdata="$home/data"
}

postgres_port() {
    local port
    port=$(sed -n "s/^port = '\([0-9]*\)'.*/\1/p" "$1/data/postgresql.conf" | tail -n 1)
    echo "${port:-5432}"
}

postgres_env() {
    printf 'export PGHOST=%q PGPORT=%q PGUSER=streamhouse PGDATABASE=streamhouse\n' "$1/socket" "$(postgres_port "$1")"
}

# The database, the extension in it, and the role that agents log in as, which may do what agents may and nothing else.
postgres_prepare() {
    (
        eval "$(postgres_env "$1")"
        export PGOPTIONS='-c client_min_messages=warning'
        if [[ -z $(psql -XAtqd postgres -c "SELECT 1 FROM pg_database WHERE datname = '$PGDATABASE'") ]]; then
            createdb "$PGDATABASE" || exit 1
        fi
        psql -XAtqv ON_ERROR_STOP=1 -f - <<'SQL'
CREATE EXTENSION IF NOT EXISTS streamhouse;
SELECT 'CREATE ROLE agent LOGIN IN ROLE streamhouse_agent' WHERE to_regrole('agent') IS NULL \gexec
SQL
    )
}

if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
    set -euo pipefail
    verb=${1:-help}
    case $verb in
    create | copy | standby | promote | start | stop | status | env | prepare)
        shift
        "postgres_$verb" "$@"
        ;;
    *)
        sed -n '2,9s/^# \{0,1\}//p' "$0"
        exit 2
        ;;
    esac
fi
