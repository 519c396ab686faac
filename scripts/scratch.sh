# shellcheck shell=bash
# scratch.sh: where tests make their clusters. A cluster is a thousand files and more, and making and removing them by the hundred
# costs some disks' file systems more processor time than the tests themselves: in memory, then, where there is plenty of it.
#
#   scratch_folder NAME     makes a new folder, which every user may pass through, and prints its path
#
# test/system/stack.py decides likewise.

SCRATCH_KIB_MIN=$((8 * 1024 * 1024))

scratch_folder() {
    local space=0 memory=0 home=/tmp folder
    if [[ -w /dev/shm ]]; then
        space=$(df --output=avail --block-size=1024 /dev/shm | tail -n 1)
        memory=$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)
        [[ $space -lt $SCRATCH_KIB_MIN || ${memory:-0} -lt $SCRATCH_KIB_MIN ]] || home=/dev/shm
    fi
    folder=$(mktemp -d "$home/streamhouse-$1.XXXXXX") && chmod 0711 "$folder" && printf '%s\n' "$folder"
}
