//! What packages that images leave out were called for by maintainer scripts, asked of a running node.

use std::collections::BTreeSet;

use crate::field;

/// What somebody else has to have done.
struct Done {
    /// Entries of `profiles/script-only.yaml`.
    packages: &'static [&'static str],
    /// A question in shell.
    shown_by: &'static str,
}

const DONE: &[Done] = &[
    Done {
        packages: &[
            "debconf",
            "debconf-2.0",
            "cdebconf",
            "libtext-charwidth-perl",
            "libtext-iconv-perl",
            "libtext-wrapi18n-perl",
        ],
        // What they ask for: time zone, locale, keyboard.
        shown_by: "date +%Z | grep -q UTC && . /etc/default/locale && [ -n \"$LANG\" ] && grep -q KEYMAP= /etc/vconsole.conf",
    },
    Done {
        packages: &["adduser"],
        shown_by: "awk '$1 ~ /^u/ { print $2 }' /usr/lib/sysusers.d/*.conf | \
                   while read -r user; do getent passwd \"$user\" && id \"$user\" || exit 1; done && \
                   [ \"$(stat -c %a /root)\" = 700 ] && ssh-keyscan -T 60 127.0.0.1 2>/dev/null | grep ssh-ed25519",
    },
    Done {
        packages: &["ucf"],
        shown_by: "findmnt -no FSTYPE /etc | grep overlay && echo '# edited here' >> /etc/nanorc && \
                   grep 'edited here' /etc/nanorc && ! grep 'edited here' /usr/share/factory/etc/nanorc",
    },
    Done {
        packages: &["sensible-utils"],
        shown_by: "echo text | pager | grep text && nano --version",
    },
    Done {
        packages: &["init-system-helpers", "runit-helper", "lsb-base"],
        shown_by: "for unit in ssh nftables systemd-networkd dbus-broker; do \
                   systemctl is-enabled $unit && systemctl is-active $unit || exit 1; done; \
                   [ ! -e /etc/init.d ] && [ ! -e /etc/rc2.d ]",
    },
    Done {
        packages: &["dpkg"],
        // Alternatives, and modes that statoverrides or scripts set.
        shown_by: "echo a b | awk '{ print $2 }' | grep b && which sh && echo text | lzma | unlzma | grep text && \
                   [ \"$(stat -c %a:%G /usr/sbin/unix_chkpwd)\" = 2755:shadow ]",
    },
    Done {
        packages: &["perl-base"],
        // pam-auth-update's stacks, and update-ca-certificates' bundle.
        shown_by: "su -s /bin/sh nobody -c 'id -un' | grep nobody && \
                   openssl verify -CAfile /etc/ssl/certs/ca-certificates.crt \
                   /usr/share/ca-certificates/mozilla/ISRG_Root_X1.crt",
    },
    Done {
        packages: &[
            "initramfs-tools*",
            "linux-initramfs-tool",
            "dracut*",
            "klibc-utils",
            "cpio",
        ],
        shown_by: "systemd-analyze | grep initrd && findmnt -no SOURCE /usr | grep /dev/mapper/usr",
    },
    Done {
        packages: &["linux-base"],
        shown_by: "[ -e /usr/lib/modules/$(uname -r)/modules.dep ] && modprobe dummy && lsmod | grep dummy",
    },
];

/// Prints `done_N=yes` for each that was done.
pub fn script() -> String {
    let ask = |(number, done): (usize, &Done)| {
        let Done { shown_by, .. } = done;
        format!(
            "if said=$(set -e; {{ {shown_by}; }} 2>&1); then echo done_{number}=yes; else echo done_{number}=no: $said; fi\n"
        )
    };
    DONE.iter().enumerate().map(ask).collect()
}

/// Holds the answers to [`script`] against the list.
pub fn assert_done(output: &str) {
    for (number, done) in DONE.iter().enumerate() {
        let answer = field(output, &format!("done_{number}"));
        assert_eq!(answer, "yes", "{:?}: {}", done.packages, done.shown_by);
    }
}

#[test]
fn each_package_that_is_left_out_has_a_question() {
    let list = include_str!("../../profiles/script-only.yaml");
    let listed: BTreeSet<&str> = list
        .lines()
        .filter_map(|line| line.strip_prefix("- package: "))
        .collect();
    let asked: BTreeSet<&str> = DONE
        .iter()
        .flat_map(|done| done.packages)
        .copied()
        .collect();
    assert_eq!(listed, asked);
}
