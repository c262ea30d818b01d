# What the scripts of a running node share, for POSIX sh. Nothing here runs by itself.
# shellcheck shell=sh
# Who sources it uses the rest.
# shellcheck disable=SC2034

# Every place can be moved, so that the functions can be tried without a node. `root` is the root of a
# file tree, for tests, and otherwise empty.
HULLWRIGHT_STATE=${HULLWRIGHT_STATE:-${root-}/var/lib/hullwright}
HULLWRIGHT_RUN=${HULLWRIGHT_RUN:-${root-}/run/hullwright}
HULLWRIGHT_EFIVARS=${HULLWRIGHT_EFIVARS:-${root-}/sys/firmware/efi/efivars}
# The vendor of systemd's boot loader variables (Boot Loader Interface).
vendor=4a67b082-0a4c-41cf-b6c7-440b29bb8c4f

# put FILE: writes what is on stdin, whole or not at all, whenever the power fails.
put() {
    mkdir -p "${1%/*}" && cat >"$1.new" && sync "$1.new" && mv -f "$1.new" "$1" && sync "${1%/*}"
}

# write_record FILE VERSION REASON: that VERSION has failed, with an excerpt of a log on stdin.
write_record() {
    _reason=$(printf '%s' "$3" | tr -s '[:space:][:cntrl:]' ' ' | cut -c 1-300)
    {
        printf '%s\n' "version=$2" "reason=$_reason" "when=$(date -u +%Y-%m-%dT%H:%M:%SZ)" ''
        tail -n 60
    } | put "$1"
}

# Sets `esp`, `entry`, `trial`, `attempt` and `counter` to what boot-count has found out in the initrd.
read_boot() {
    esp='' entry='' trial=no attempt=0 counter=none
    if [ -r "$HULLWRIGHT_RUN/boot" ]; then
        # Not sourced: a name on the ESP is anybody's.
        while IFS='=' read -r _key _value; do
            case $_key in
                esp) esp=$_value ;;
                entry) entry=$_value ;;
                trial) trial=$_value ;;
                attempt) attempt=$_value ;;
                counter) counter=$_value ;;
            esac
        done <"$HULLWRIGHT_RUN/boot"
    elif [ -e "$HULLWRIGHT_EFIVARS/LoaderBootCountPath-$vendor" ]; then
        trial=yes
    fi
}

# on_trial: whether this boot is a trial whose entry has not been blessed yet. Until then the version
# before it is the only good one.
on_trial() {
    read_boot
    [ "$trial" = yes ] && [ ! -e "$HULLWRIGHT_RUN/blessed" ]
}
