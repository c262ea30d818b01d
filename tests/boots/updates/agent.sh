#!/bin/bash
# Runs what the test sends over a virtio port, as root: a line `ID BASE64` is answered by
# `ID STATUS BASE64`. Each start says which boot of which version this is.
port=/dev/virtio-ports/hwtest.agent
. /usr/lib/os-release
exec 3<>"$port"
printf 'HELLO %s %s\n' "$(cat /proc/sys/kernel/random/boot_id)" "$IMAGE_VERSION" >&3
while read -r id script <&3; do
    output=$(printf %s "$script" | base64 -d | timeout -k 5 1200 bash 2>&1)
    printf '%s %s %s\n' "$id" "$?" "$(printf %s "$output" | base64 -w0)" >&3
done
