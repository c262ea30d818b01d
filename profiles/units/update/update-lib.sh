# Functions of hullwright-update and its services, for POSIX sh. Nothing here runs by itself.
# shellcheck shell=sh
# Who sources it uses the rest, and sets `work`, its scratch folder.
# shellcheck disable=SC2034,SC2154

# Every place can be moved, so that the functions can be tried without a node.
HULLWRIGHT_LIB=${HULLWRIGHT_LIB:-/usr/lib/hullwright}
HULLWRIGHT_ETC=${HULLWRIGHT_ETC:-/etc/hullwright}
HULLWRIGHT_TRANSFERS=${HULLWRIGHT_TRANSFERS:-/run/sysupdate.d}
HULLWRIGHT_PARTUUIDS=${HULLWRIGHT_PARTUUIDS:-/dev/disk/by-partuuid}
HULLWRIGHT_OS_RELEASE=${HULLWRIGHT_OS_RELEASE:-/usr/lib/os-release}
SYSUPDATE=${SYSUPDATE:-/usr/lib/systemd/systemd-sysupdate}
SYSTEMD_PULL=${SYSTEMD_PULL:-/usr/lib/systemd/systemd-pull}

# shellcheck source=profiles/health/scripts/node.sh
. "$HULLWRIGHT_LIB/node.sh"
# shellcheck source=profiles/health/scripts/oneshot.sh
. "$HULLWRIGHT_LIB/oneshot.sh"

# Exit codes.
FAILED=1 USAGE=2 NOTHING=3 SERVER=4 REFUSED=5

# Seconds that one download may take altogether; systemd-pull itself gives up after a minute of less
# than 30 bytes a second.
SMALL_LIMIT=${HULLWRIGHT_SMALL_LIMIT:-180}
PAYLOAD_LIMIT=${HULLWRIGHT_PAYLOAD_LIMIT:-3300}
# The largest SHA256SUMS.
MOST_SUMS=4194304

say() { printf '%s\n' "$*"; }
warn() { printf 'hullwright-update: %s\n' "$*" >&2; }

# die CODE MESSAGE [HINT…]
die() {
    _code=$1
    warn "$2"
    shift 2
    for _hint in "$@"; do printf 'hint: %s\n' "$_hint" >&2; done
    exit "$_code"
}

now() { date -u +%Y-%m-%dT%H:%M:%SZ; }

# Makes the scratch folder `work`. Whoever has the lock may remove those of runs that were killed.
scratch() {
    rm -rf "$HULLWRIGHT_RUN"/update.??????
    work=$(mktemp -d "$HULLWRIGHT_RUN/update.XXXXXX") || return
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
}

# --- Settings: /etc/hullwright/update.conf wins over /usr/lib/hullwright/update.conf.

# own_setting KEY: the node's own value, even an empty one.
value_in() {
    [ -f "$1" ] && grep -q "^$2=" "$1" && sed -n "s/^$2=//p" "$1" | tail -n 1
}
setting() {
    value_in "$HULLWRIGHT_ETC/update.conf" "$1" || value_in "$HULLWRIGHT_LIB/update.conf" "$1" || :
}

# set_setting KEY [VALUE]: without VALUE the key goes.
set_setting() {
    _conf=$HULLWRIGHT_ETC/update.conf
    {
        if [ -f "$_conf" ]; then grep -v "^$1=" "$_conf" || :; fi
        if [ $# -gt 1 ]; then printf '%s=%s\n' "$1" "$2"; fi
    } | put "$_conf"
}

is_channel() {
    case $1 in '' | [!0-9a-z]* | *[!0-9a-z.-]*) return 1 ;; esac
}
is_version() {
    case $1 in '' | [!0-9]* | *[!0-9A-Za-z.~-]*) return 1 ;; esac
    [ ${#1} -le 20 ]
}
is_url() {
    case $1 in
    *[!!-~]* | *[\"\'\\\`\$\?#]*) return 1 ;;
    http://?* | https://?*) return 0 ;;
    *) return 1 ;;
    esac
}

os_release() { sed -n "s/^$1=//p" "$HULLWRIGHT_OS_RELEASE" | tail -n 1 | tr -d '"'; }

# Reads the settings into variables, and says what is wrong with them.
load_settings() {
    id=$(os_release IMAGE_ID)
    running=$(os_release IMAGE_VERSION)
    arch=$(setting arch)
    tries=$(setting tries)
    url=$(setting url)
    url=${url%/}
    channel=$(setting channel)
    channel=${channel:-stable}
    reboot=$(setting reboot)
    pin=$(setting pin)
    case $id,$running,$arch in ,* | *,,* | *,)
        die $FAILED "$HULLWRIGHT_OS_RELEASE and $HULLWRIGHT_LIB/update.conf do not say what system this is" ;;
    esac
    is_channel "$channel" ||
        die $FAILED "\`channel=$channel\` in $HULLWRIGHT_ETC/update.conf is no channel's name"
    case $reboot in off | immediate | window) ;; *)
        die $FAILED "\`reboot=$reboot\` in $HULLWRIGHT_ETC/update.conf is not \`off\`, \`immediate\` or \`window\`" ;;
    esac
    [ -z "$pin" ] || is_version "$pin" ||
        die $FAILED "\`pin=$pin\` in $HULLWRIGHT_ETC/update.conf is no version"
    [ -z "$url" ] || is_url "$url" ||
        die $FAILED "\`url=$url\` in $HULLWRIGHT_ETC/update.conf is not a URL that begins with \`https://\` or \`http://\`"
    # Without a server transfers still say what is installed.
    source=${url:-http://localhost}/$channel/$arch
}

# Writes the transfers for the settings of now.
render_transfers() {
    mkdir -p "$HULLWRIGHT_TRANSFERS" || return
    # With tries that nobody counts down, systemd-boot would start it again and again.
    _tries=$tries
    if is_u_boot; then _tries=0; fi
    # `%` begins a specifier there; `&`, `|` and `\` mean something to sed.
    _source=$(printf %s "$source/" | sed -e 's/%/%%/g' -e 's/[&|\\]/\\&/g')
    for _template in "$HULLWRIGHT_LIB"/transfers/*.transfer; do
        _name=${_template##*/}
        sed -e "s|@SOURCE@|$_source|" -e "s|@ID@|$id|g" -e "s|@TRIES@|$_tries|" "$_template" \
            >"$HULLWRIGHT_TRANSFERS/.$_name" &&
            mv "$HULLWRIGHT_TRANSFERS/.$_name" "$HULLWRIGHT_TRANSFERS/$_name" || return
    done
}

# --- Versions, in the order of the UAPI version format, as systemd-boot and sysupdate have it.

newer() { systemd-analyze compare-versions "$1" gt "$2"; }

# newest: the newest of the versions on stdin.
newest() {
    _best=
    while read -r _version; do
        if [ -z "$_best" ] || newer "$_version" "$_best"; then _best=$_version; fi
    done
    [ -n "$_best" ] && say "$_best"
}

is_failed() { [ -e "$HULLWRIGHT_STATE/failed/$1" ]; }

failed_versions() {
    for _file in "$HULLWRIGHT_STATE"/failed/*; do
        if [ -f "$_file" ] && is_version "${_file##*/}"; then say "${_file##*/}"; fi
    done
}
# failed_field VERSION KEY
failed_field() { sed -n -e '/^$/q' -e "s/^$2=//p" "$HULLWRIGHT_STATE/failed/$1" | head -n 1; }

# record_failed VERSION REASON
record_failed() { write_record "$HULLWRIGHT_STATE/failed/$1" "$1" "$2" </dev/null; }

# history EVENT VERSION NOTE
note() {
    _file=$HULLWRIGHT_STATE/update/history
    mkdir -p "${_file%/*}" || return
    {
        if [ -f "$_file" ]; then tail -n 499 "$_file"; fi
        printf '%s\t%s\t%s\t%s\n' "$(now)" "$1" "$2" "$(printf %s "$3" | tr '\t\n' '  ')"
    } | put "$_file"
}

# --- The EFI system partition.

# Where it is mounted; nothing on a machine without one.
esp() {
    if [ -n "${HULLWRIGHT_ESP-}" ]; then
        say "$HULLWRIGHT_ESP"
    else
        bootctl --print-boot-path 2>/dev/null
    fi
}

# remount OPTION: FAT does not order its writes by itself; with `sync` a name points to the new file
# before the clusters of the old one are free.
remount() { [ -n "${HULLWRIGHT_ESP-}" ] || mount -o "remount,$1" "$_esp" || :; }

# entries: `VERSION LEFT FILE` of each UKI of ours; LEFT is `-` where it is not counted.
entries() {
    _esp=$(esp) || return 0
    for _file in "$_esp/EFI/Linux/${id}_"*.efi; do
        # A cut rename leaves a name without content.
        [ -s "$_file" ] || continue
        _name=${_file##*/"${id}"_}
        _name=${_name%.efi}
        _version=${_name%%+*}
        is_version "$_version" || continue
        case $_name in
        *+*)
            _left=${_name#*+}
            _left=${_left%%-*}
            if [ "$_name" = "$_version+0-0" ] && is_u_boot; then
                # With both names, the one without counter is the newer.
                [ ! -s "$_esp/EFI/Linux/${id}_$_version.efi" ] || continue
                _left=$(tries_left "$_version")
            fi
            ;;
        *) _left=- ;;
        esac
        say "$_version $_left $_file"
    done
}

# tries_left VERSION: of one that waits for its tries under U-Boot. The one that is armed has been
# counted, and has not begun.
tries_left() {
    _tried=$(attempts "$_esp" "$1")
    if is_armed "$_esp" "$id" "$1"; then _tried=$((_tried - 1)); fi
    if [ "$_tried" -lt "$tries" ]; then say $((tries - _tried)); else say 0; fi
}

# entry_of VERSION: its UKI.
entry_of() {
    entries | while read -r _version _left _file; do
        if [ "$_version" = "$1" ]; then say "$_file"; fi
    done | head -n 1
}

# usable UKI: whether the partitions that it needs are there.
usable() {
    _hash=$(grep -a -o -m 1 'usrhash=[0-9a-f]\{64\}' "$1" | head -n 1)
    _hash=${_hash#usrhash=}
    [ ${#_hash} -eq 64 ] || return 1
    _uuid() { printf %s "$1" | sed 's/^\(.\{8\}\)\(....\)\(....\)\(....\)\(.*\)$/\1-\2-\3-\4-\5/'; }
    [ -e "$HULLWRIGHT_PARTUUIDS/$(_uuid "$(printf %.32s "$_hash")")" ] &&
        [ -e "$HULLWRIGHT_PARTUUIDS/$(_uuid "${_hash#????????????????????????????????}")" ]
}

# Records what used up its tries before it could tell why.
record_exhausted() {
    entries | while read -r _version _left _file; do
        if [ "$_left" = 0 ] && [ "$_version" != "$running" ] && ! is_failed "$_version"; then
            record_failed "$_version" "no boot of it was found good"
        fi
    done
}

# pending: an installed version that the next boot starts, if it is not the running one.
pending() {
    entries | while read -r _version _left _file; do
        if [ "$_left" != 0 ] && newer "$_version" "$running" && ! is_failed "$_version"; then
            say "$_version"
        fi
    done | newest
}

# fallback: the newest other version that was found good once.
fallback() {
    entries | while read -r _version _left _file; do
        if [ "$_left" = - ] && [ "$_version" != "$running" ] && ! is_failed "$_version" &&
            usable "$_file"; then
            say "$_version"
        fi
    done | newest
}

# installed VERSION: whether it could be started.
installed() {
    entries | while read -r _version _left _file; do
        if [ "$_version" = "$1" ] && [ "$_left" != 0 ] && usable "$_file"; then say "$1"; fi
    done | grep -q .
}

# arm VERSION: where firmware does not count, tells the next boot to try it. The attempt is on the disk
# before the order, so that it counts even if its kernel never starts.
arm() {
    is_u_boot || return 0
    _esp=$(esp) || return
    # One without counter is the default already.
    case $(entry_of "$1") in *+0-0.efi) ;; *) return 0 ;; esac
    if is_armed "$_esp" "$id" "$1"; then return 0; fi
    _next=$(($(attempts "$_esp" "$1") + 1))
    [ "$_next" -le "$tries" ] || return
    remount sync
    mkdir -p "$_esp/hullwright/attempts" && printf '' >"$_esp/hullwright/attempts/$1.$_next" &&
        sync "$_esp/hullwright/attempts" && write_store "$_esp" "$(pattern "$id" "$1")" &&
        is_armed "$_esp" "$id" "$1"
    _armed=$?
    remount async
    return $_armed
}

# disarm VERSION: before it is installed: nothing is tried that gives way to it, and it has all its tries.
disarm() {
    is_u_boot || return 0
    _esp=$(esp) || return
    _tried=$(attempts "$_esp" "$1")
    while [ "$_tried" -gt 0 ]; do
        rm -f "$_esp/hullwright/attempts/$1.$_tried"
        _tried=$((_tried - 1))
    done
    read_store "$_esp"
    [ -n "$_oneshot" ] || return 0
    remount sync
    write_store "$_esp"
    _disarmed=$?
    remount async
    return $_disarmed
}

# reboot_once VERSION WHY: once for each version, or for each of its tries where those are armed: a machine
# that comes up with the old one would reboot for ever.
reboot_once() {
    _mark=$1
    if is_u_boot; then _mark="$1 $(attempts "$(esp)" "$1")"; fi
    if [ "$(cat "$HULLWRIGHT_STATE/update/rebooted" 2>/dev/null)" = "$_mark" ]; then
        warn "$1 is installed, and the last reboot did not start it; not rebooting again by itself"
        return
    fi
    say "$_mark" | put "$HULLWRIGHT_STATE/update/rebooted"
    note reboot "$1" "$2"
    say "rebooting into $1"
    systemctl --no-block reboot
}

# What follows an update: VERSION is installed, and starts at the next boot.
reboot_by_policy() {
    arm "$1" || die $FAILED "$1 is installed, and $(esp)/ubootefi.var can't be written to have it tried" \
        "the running system is not affected; is the EFI system partition full?"
    case $reboot in
    off) say "$1 starts at the next boot" ;;
    window) say "$1 starts after a reboot in the next maintenance window" ;;
    immediate) reboot_once "$1" "after the update" ;;
    esac
}

# Removes what cut updates have left, and clusters that fsck has gathered.
clean_esp() {
    _esp=$(esp) || return 0
    for _file in "$_esp"/EFI/Linux/.#* "$_esp"/EFI/systemd/.hullwright* "$_esp"/EFI/BOOT/.hullwright* \
        "$_esp"/ubootefi.var.new \
        "$_esp"/[Ff][Ss][Cc][Kk][0-9][0-9][0-9][0-9].[Rr][Ee][Cc]; do
        if [ -f "$_file" ]; then
            say "removing $_file, which a cut update has left"
            rm -f "$_file"
        fi
    done
    # FAT makes the new name of a file first. Without content it is in the way of the entry that it was
    # to become, because it counts as installed.
    for _file in "$_esp/EFI/Linux/${id}_"*.efi; do
        if [ -f "$_file" ] && [ ! -s "$_file" ]; then
            say "removing $_file, which a cut update has left without content"
            rm -f "$_file"
        fi
    done
}

# esp_room: complains where there is no room for a UKI as large as the largest. The one that makes room
# for it, of neither the running version nor the fallback, counts as free.
esp_room() {
    _esp=$(esp) || return 0
    _free=$(df --output=avail -B 1 "$_esp" | tail -n 1 | tr -d ' ')
    _count=0 _largest=0 _gone=0
    _keep=$running
    while read -r _version _left _file; do
        [ -n "$_version" ] || continue
        _size=$(stat -c %s "$_file")
        _count=$((_count + 1))
        if [ "$_size" -gt "$_largest" ]; then _largest=$_size; fi
        if [ "$_version" != "$_keep" ]; then _gone=$((_gone + _size)); fi
    done <<END
$(entries)
END
    _need=$((_largest + _largest / 8 + 1048576))
    if [ $((_free + _gone)) -lt "$_need" ]; then
        warn "the EFI system partition $_esp has $_free bytes free, and a boot entry needs up to $_need"
        find "$_esp" -type f -size +1M ! -name "${id}_*.efi" -exec ls -l {} + >&2
        return 1
    fi
}

# --- The server.

# fetch VERIFY NAME FILE [LIMIT]: downloads NAME of the channel into FILE.
fetch() {
    # Through stdout, for which systemd-pull does without files of its own; they count only after it
    # has ended well.
    timeout --foreground -k 10 "$SMALL_LIMIT" "$SYSTEMD_PULL" raw --direct --verify="$1" --sync=no \
        --size-max="${4:-$MOST_SUMS}" "$source/$2" - >"$3" 2>"$work/log" && return
    sed 's/^/  /' "$work/log" >&2
    rm -f "$3"
    return 1
}

# sum_of NAME: its SHA-256 in the channel's sums.
sum_of() { awk -v name="$1" '$2 == name || $2 == "*" name { print $1; exit }' "$work/SHA256SUMS"; }

serial_file() { say "$HULLWRIGHT_STATE/update/serial.$channel"; }

# Fetches what the channel offers: SHA256SUMS with a good signature, and channel.txt as they name it.
fetch_channel() {
    [ -n "$url" ] || die $REFUSED "no server: \`url\` is empty" \
        "set update.url in the profile, or url= in $HULLWRIGHT_ETC/update.conf"
    fetch signature SHA256SUMS "$work/SHA256SUMS" ||
        die $SERVER "$source/SHA256SUMS can't be fetched, or its signature is not good"
    _sum=$(sum_of channel.txt)
    [ ${#_sum} -eq 64 ] || die $SERVER "$source does not say which channel it is"
    fetch "$_sum" channel.txt "$work/channel.txt" 65536 ||
        die $SERVER "$source/channel.txt is not the one that SHA256SUMS names"
    _told=$(value_in "$work/channel.txt" channel)
    [ "$_told" = "$channel" ] ||
        die $SERVER "$source is the channel \`$_told\`, and this node follows \`$channel\`"
    _told=$(value_in "$work/channel.txt" arch)
    [ "$_told" = "$arch" ] || die $SERVER "$source is for $_told, and this node is $arch"
    serial=$(value_in "$work/channel.txt" serial)
    case $serial in '' | *[!0-9]* | ???????????????*)
        die $SERVER "$source/channel.txt has no serial" ;;
    esac
    _seen=$(cat "$(serial_file)" 2>/dev/null)
    case $_seen in '' | *[!0-9]*) _seen=0 ;; esac
    if [ "$serial" -lt "$_seen" ]; then
        die $SERVER "$source is at serial $serial, and this node has seen $_seen: an old state was replayed" \
            "if the channel was begun anew, remove $(serial_file)"
    fi
    if [ "$serial" -gt "$_seen" ]; then say "$serial" | put "$(serial_file)"; fi
}

# offered: the versions of which the channel has every part.
offered() {
    awk -v id="${id}_" '
        { sub(/^\*/, "", $2) }
        index($2, id) != 1 { next }
        { name = substr($2, length(id) + 1) }
        name ~ /_[0-9a-f-]+\.usr\.raw$/ { sub(/_[0-9a-f-]+\.usr\.raw$/, "", name); usr[name] = 1; next }
        name ~ /_[0-9a-f-]+\.vty\.raw$/ { sub(/_[0-9a-f-]+\.vty\.raw$/, "", name); vty[name] = 1; next }
        name ~ /\.sig\.raw$/ { sub(/\.sig\.raw$/, "", name); sig[name] = 1; next }
        name ~ /\.efi$/ { sub(/\.efi$/, "", name); efi[name] = 1 }
        END { for (name in efi) if (name in usr && name in vty && name in sig) print name }
    ' "$work/SHA256SUMS" | sort | while read -r _version; do
        if is_version "$_version"; then say "$_version"; fi
    done
}

# candidate: what an update would install. The pinned version and no other, where there is a pin.
candidate() {
    offered | while read -r _version; do
        newer "$_version" "$running" || continue
        if is_failed "$_version"; then continue; fi
        [ -z "$pin" ] || [ "$_version" = "$pin" ] || continue
        say "$_version"
    done | newest
}
