# shellcheck shell=bash
# dependencies.sh: installs the Debian packages that docs/dependencies.md lists and that are not there yet.
# Sourced; needs say.sh. ROOT is the project's folder.

# Every row of one of that page's tables, as "package|command that will do instead".
dependencies_rows() {
    local heading=$1
    awk -F'|' -v heading="## $heading" '
        /^## / { wanted = ($0 == heading) }
        wanted && NF >= 5 && $2 !~ /^ (package|---) / { gsub(/ /, "", $2); gsub(/ /, "", $4); print $2 "|" $4 }
    ' "$ROOT/docs/dependencies.md"
}

package_is_installed() {
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

# The packages of the named tables that are missing, one a line.
dependencies_missing() {
    local heading package instead
    for heading; do
        while IFS='|' read -r package instead; do
            if package_is_installed "$package" || { [[ -n $instead ]] && command -v "$instead" >/dev/null; }; then
                continue
            fi
            printf '%s\n' "$package"
        done < <(dependencies_rows "$heading")
    done
}

# Runs a command as root: as it is for root, through sudo for anybody else.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        complain "This needs root: run it as root, or install sudo. It wanted to run: $*"
        return 1
    fi
}

apt_lists_are_empty() {
    [[ -z $(apt-cache dumpavail 2>/dev/null | head -c 1) ]]
}

apt_run() {
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3 "$@"
}

# Installs what is given; refreshes the package lists when that alone does not do.
dependencies_install() {
    if ! apt_lists_are_empty && apt_run install -y --no-install-recommends "$@"; then
        return 0
    fi
    apt_run update && apt_run install -y --no-install-recommends "$@"
}

# dependencies_ensure LOG heading…: a step that says what it installs, or silence when nothing is missing.
dependencies_ensure() {
    local log=$1 missing count
    shift
    mapfile -t missing < <(dependencies_missing "$@")
    count=${#missing[@]}
    if [[ $count -eq 0 ]]; then
        return 0
    fi
    if [[ $EUID -ne 0 && -t 0 ]]; then
        sudo -v || return 1 # asks for the password here, not behind a progress line
    fi
    step "installing $count of Debian's packages" "$log" dependencies_install "${missing[@]}"
}
