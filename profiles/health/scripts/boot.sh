# What is known about this boot; sourced by the scripts beside it. `root` is the root of a file tree, for
# tests, and otherwise empty.
set -u
run=$root/run/hullwright
state=$root/var/lib/hullwright
efi=$root/sys/firmware/efi/efivars
vendor=4a67b082-0a4c-41cf-b6c7-440b29bb8c4f

esp='' entry='' trial=no attempt=0 counter=none
. "$root/usr/lib/os-release"
version=$IMAGE_VERSION
if [ -r "$run/boot" ]; then
    # Written by boot-count in the initrd. Not sourced: a name on the ESP is anybody's.
    while IFS='=' read -r key value; do
        case $key in
            esp) esp=$value ;;
            entry) entry=$value ;;
            trial) trial=$value ;;
            attempt) attempt=$value ;;
            counter) counter=$value ;;
        esac
    done <"$run/boot"
elif [ -e "$efi/LoaderBootCountPath-$vendor" ]; then
    trial=yes
fi
mkdir -p "$run"

# Seconds since the kernel started.
uptime() {
    read -r seconds rest <"$root/proc/uptime"
    echo "${seconds%%.*}"
}

# Writes standard input to the file $1, which is whole or absent whenever the power fails.
write_durably() {
    mkdir -p "${1%/*}"
    cat >"$1.new" && sync "$1.new" && mv -f "$1.new" "$1" && sync "${1%/*}"
}

# A record of version $1 that failed for the reason $2, with an excerpt of a log on standard input.
write_record() {
    reason=$(printf '%s' "$2" | tr -s '[:space:][:cntrl:]' ' ' | cut -c 1-300)
    {
        printf '%s\n' "version=$1" "reason=$reason" "when=$(date -u +%Y-%m-%dT%H:%M:%SZ)" ''
        tail -n 60
    } | write_durably "$3"
}

# This boot is not good, for the reason $1, with a log on standard input. A trial ends here: the next try,
# or the version before, is better. A version that was good at some time stays up, because the reason may
# lie outside: a network that fails must not reboot a fleet.
reject() {
    # Somebody else ends this boot, and a machine that is to be switched off must not start again.
    if [ "$(systemctl is-system-running)" = stopping ]; then
        return
    fi
    if [ -e "$run/healthy" ]; then
        echo "no longer healthy: $1" >&2
        return
    fi
    echo "this boot is not good: $1" >&2
    if [ "$trial" != yes ]; then
        echo "version $version was good before, so it stays up" >&2
        systemctl --no-block restart hullwright-again.timer
        return
    fi
    # Whatever hangs below: a disk that does not answer must not keep the machine here.
    { sleep 60 && systemctl --no-block --check-inhibitors=no reboot; } >/dev/null 2>&1 &
    # Its attempt is counted already; why it failed, the next healthy boot wants to know.
    write_record "$version" "$1" "$state/attempts/$version"
    timeout 20 journalctl --sync
    sync
    systemctl --no-block --check-inhibitors=no reboot
}
