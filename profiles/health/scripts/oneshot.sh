# Tries of a new version where firmware can't count them, for POSIX sh, with node.sh. Nothing here runs by
# itself. See docs/boot.md, "Boot counting under U-Boot".
# shellcheck shell=sh
# node.sh sets what is not set here.
# shellcheck disable=SC2154
#
# U-Boot keeps variables in the file ubootefi.var of the ESP (lib/efi_loader/efi_var_file.c and
# include/efi_variable.h of U-Boot): 8 zero bytes, the magic `UbEfiVa` 1, length of the file, CRC-32 of
# what follows; then for each variable length of the data, attributes, 8 bytes of time, vendor, name in
# UTF-16 with a final zero, data, and zeros up to a multiple of 8. Numbers have 4 bytes, lowest first.

# CONFIG_EFI_VAR_BUF_SIZE: U-Boot takes no larger file.
STORE_LIMIT=131072

# is_u_boot: whether systemd-boot was started by U-Boot, which neither renames files nor sets variables
# once Linux runs.
is_u_boot() {
    [ -r "$HULLWRIGHT_EFIVARS/LoaderFirmwareInfo-$vendor" ] || return 1
    # Four bytes of attributes, then UTF-16.
    case $(tr -d -c '[:print:]' <"$HULLWRIGHT_EFIVARS/LoaderFirmwareInfo-$vendor") in
        'Das U-Boot'*) return 0 ;;
    esac
    return 1
}

# attempts ESP VERSION: how many tries of it were begun.
attempts() {
    _number=0
    while [ -e "$1/hullwright/attempts/$2.$((_number + 1))" ]; do _number=$((_number + 1)); done
    echo "$_number"
}

# hex: the bytes on stdin. utf16 TEXT: as hex, with a final zero. number N: four bytes as hex.
hex() { od -A n -v -t x1 | tr -d ' \n'; }
utf16() { printf '%s' "$1" | od -A n -v -t x1 | tr -d '\n' | sed -e 's/ *\(..\)/\100/g' -e 's/$/0000/'; }
number() { printf '%08x' "$1" | sed 's/\(..\)\(..\)\(..\)\(..\)/\4\3\2\1/'; }

# bytes: what is hex on stdin.
bytes() {
    awk '{
        for (at = 1; at < length($0); at += 2) {
            high = index("0123456789abcdef", substr($0, at, 1)) - 1
            low = index("0123456789abcdef", substr($0, at + 1, 1)) - 1
            printf "\\0%03o", 16 * high + low
            if (at % 512 == 511) print ""
        }
        print ""
    }' | while read -r _line; do printf '%b' "$_line"; done
}

# head_of BODY: the 24 bytes before it, as hex. gzip ends with the CRC-32.
head_of() {
    _crc=$(printf '%s\n' "$1" | bytes | gzip -1 | tail -c 8 | head -c 4 | hex)
    printf '0000000000000000%s%s%s' 5562456669566101 "$(number $((24 + ${#1} / 2)))" "$_crc"
}

# The vendor as EFI writes it, and the name.
oneshot_key() { printf '82b0674a4c0acf41b6c7440b29bb8c4f%s' "$(utf16 LoaderEntryOneShot)"; }

# read_store ESP: sets `_others` to all variables but LoaderEntryOneShot, and `_oneshot` to its data, as
# hex. Of a file that U-Boot would not take, nothing is taken.
read_store() {
    _others='' _oneshot=''
    _store=$1/ubootefi.var
    [ -f "$_store" ] && [ "$(stat -c %s "$_store")" -le $STORE_LIMIT ] || return 0
    _all=$(hex <"$_store")
    _body=${_all#????????????????????????????????????????????????}
    [ "$_all" = "$(head_of "$_body")$_body" ] || return 0
    _split=$(printf '%s\n' "$_body" | awk -v key="$(oneshot_key)" '
        function byte(at) {
            return 16 * (index(digits, substr($0, at, 1)) - 1) + index(digits, substr($0, at + 1, 1)) - 1
        }
        BEGIN { digits = "0123456789abcdef" }
        {
            end = length($0) + 1
            for (at = 1; at < end; at = next_at) {
                size = byte(at) + 256 * byte(at + 2) + 65536 * byte(at + 4) + 16777216 * byte(at + 6)
                for (data = at + 64; substr($0, data, 4) != "0000"; data += 4) if (data >= end) exit 1
                data += 4
                next_at = at + 16 * int(((data - at) / 2 + size + 7) / 8)
                if (next_at > end) exit 1
                if (substr($0, at + 32, data - at - 32) == key) oneshot = substr($0, data, 2 * size)
                else others = others substr($0, at, next_at - at)
            }
            print others " " oneshot
        }') || return 0
    _others=${_split%% *} _oneshot=${_split#* }
}

# write_store ESP [ENTRY]: the variables that are there, with LoaderEntryOneShot=ENTRY or without it.
write_store() {
    read_store "$1"
    _new=$_others
    if [ $# -gt 1 ]; then
        _data=$(utf16 "$2")
        # Non-volatile, for boot services and at run time.
        _new=$_new$(number $((${#_data} / 2)))070000000000000000000000$(oneshot_key)$_data
        while [ $((${#_new} % 16)) -ne 0 ]; do _new=${_new}00; done
    fi
    [ $((24 + ${#_new} / 2)) -le $STORE_LIMIT ] || return 1
    printf '%s\n' "$(head_of "$_new")$_new" | bytes | put "$1/ubootefi.var"
}

# pattern ID VERSION: an entry for systemd-boot, which compares its whole name, or that without the
# counter, with a pattern (systemd #38813). It is `ID_VERSION.efi` or `ID_VERSION+0-0.efi`, and no version
# that only begins alike.
pattern() { printf '%s' "$1_$2[+.][0e][f-][0i]*"; }

# is_armed ESP ID VERSION: whether the next boot tries it.
is_armed() {
    read_store "$1"
    [ -n "$_oneshot" ] && [ "$_oneshot" = "$(utf16 "$(pattern "$2" "$3")")" ]
}
