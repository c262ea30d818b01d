# What is known about this boot; sourced by the scripts beside it. `root` is the root of a file tree, for
# tests, and otherwise empty.
set -u
. "$root/usr/lib/hullwright/node.sh"
run=$HULLWRIGHT_RUN
state=$HULLWRIGHT_STATE

. "$root/usr/lib/os-release"
version=$IMAGE_VERSION
read_boot
mkdir -p "$run"

# Seconds since the kernel started.
uptime() {
    read -r seconds rest <"$root/proc/uptime"
    echo "${seconds%%.*}"
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
    write_record "$state/attempts/$version" "$version" "$1"
    timeout 20 journalctl --sync
    sync
    systemctl --no-block --check-inhibitors=no reboot
}
