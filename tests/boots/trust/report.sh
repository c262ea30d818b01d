#!/bin/sh
# Tells on the console what could have changed this system.
out() {
    printf 'TRUST %s=%s;\n' "$1" "$(echo "$2" | tr '\n' ' ')" >/dev/console
}
report() {
    out cmdline "$(cat /proc/cmdline)"
    out secure-boot "$(bootctl status 2>/dev/null | sed -n 's/^ *Secure Boot: //p')"
    out lockdown "$(cat /sys/kernel/security/lockdown)"
    out credentials "$(find /run/credentials -mindepth 2 -name 'hwtest*' -o -name tmpfiles.extra)"
    out stub "$(find /run/systemd/stub /.extra 2>/dev/null)"
    out extensions "$(find /run/extensions /run/confexts /usr/share/hwtest-extension /etc/hwtest-extension 2>/dev/null)"
    out effects "$(find /run -maxdepth 1 -name 'hwtest*')"
}
# A getty that starts resets the line and drops what is on its way, so everything is said twice.
report
sleep 10
report
out end ""
