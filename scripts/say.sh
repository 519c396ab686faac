# shellcheck shell=bash
# say.sh: how the project's commands speak to a person: steps with their seconds, colours only on a terminal.
# Sourced; defines functions only.

if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' GREEN=$'\e[32m' RED=$'\e[31m' PLAIN=$'\e[0m'
else
    BOLD='' DIM='' GREEN='' RED='' PLAIN=''
fi

say() {
    printf '%s\n' "$*"
}

complain() {
    printf '%s%s%s\n' "$RED" "$*" "$PLAIN" >&2
}

die() {
    complain "$@"
    exit 1
}

# step "what happens" LOG command…: runs the command with its output in LOG, prints one line, and LOG's tail if it fails.
step() {
    local what=$1 log=$2 started=$SECONDS
    shift 2
    printf '%s%s%s %s …' "$BOLD" "•" "$PLAIN" "$what"
    if "$@" >>"$log" 2>&1 </dev/null; then
        printf ' %sdone%s %s%s%s\n' "$GREEN" "$PLAIN" "$DIM" "$(seconds_told $((SECONDS - started)))" "$PLAIN"
        return 0
    fi
    printf ' %sfailed%s\n' "$RED" "$PLAIN"
    complain "The last lines of $log:"
    tail -n 30 "$log" | sed 's/^/    /' >&2
    return 1
}

# A duration in passing; below two seconds there is nothing to tell.
seconds_told() {
    if [[ $1 -ge 2 ]]; then
        printf '(%d s)' "$1"
    fi
}
