# shellcheck shell=bash
# beside.sh: a stage's commands run beside each other, as many at a time as there are processors.
#
#   beside NAME command…   starts it, once there is room
#   beside_wait            returns when all have ended
#   outcome NAME           prints what that command said and returns its status
#
# Sourced; takes the trap EXIT.

BESIDE=$(mktemp -d)
BESIDE_RUNNING=0
trap 'rm -rf -- "$BESIDE"' EXIT

beside() {
    local file=$BESIDE/${1//\//-}
    shift
    if [[ $BESIDE_RUNNING -ge $(nproc) ]]; then
        wait -n
        BESIDE_RUNNING=$((BESIDE_RUNNING - 1))
    fi
    (
        code=0
        "$@" >"$file.output" 2>&1 || code=$?
        echo "$code" >"$file.status"
    ) &
    BESIDE_RUNNING=$((BESIDE_RUNNING + 1))
}

beside_wait() {
    wait
    BESIDE_RUNNING=0
}

outcome() {
    local file=$BESIDE/${1//\//-}
    cat "$file.output"
    return "$(<"$file.status")"
}
