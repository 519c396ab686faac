# shellcheck shell=bash
# tap.sh: a stage's own tests. tap "sentence" command… prints "ok" or "not ok" and, when it failed, what the command said.
# A stage ends with: tap_end. Sourced; stages set ROOT by sourcing it.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT" || exit 1
TAP_NUMBER=0
TAP_FAILED=0

tap_say() {
    local verdict=$1
    shift
    TAP_NUMBER=$((TAP_NUMBER + 1))
    [[ $verdict == ok ]] || TAP_FAILED=$((TAP_FAILED + 1))
    printf '%s %d - %s\n' "$verdict" "$TAP_NUMBER" "$*"
}

tap() {
    local sentence=$1 output
    shift
    if output=$("$@" 2>&1); then
        tap_say ok "$sentence"
        return 0
    fi
    printf '%s\n' "$output" | sed 's/^/# /'
    tap_say "not ok" "$sentence"
    return 1
}

# Fails when a command finds something, and shows what.
tap_none() {
    local sentence=$1 output
    shift
    output=$("$@" 2>&1)
    if [[ -z $output ]]; then
        tap_say ok "$sentence"
        return 0
    fi
    printf '%s\n' "$output" | sed 's/^/# /'
    tap_say "not ok" "$sentence"
    return 1
}

tap_end() {
    echo "1..$TAP_NUMBER"
    [[ $TAP_FAILED -eq 0 && $TAP_NUMBER -gt 0 ]]
}
