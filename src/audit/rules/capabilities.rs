//! Programs with capabilities of their own.

use anyhow::Result;

use super::Rule;
use crate::audit::{Finding, Subject};

pub(super) const RULE: Rule = Rule {
    name: "capabilities",
    about: "A program has capabilities(7), whoever starts it: a flaw in it is a way to these rights. Every \
            one that an image has stands in `allow:`, with the reason.",
    check,
};

const ATTRIBUTE: &[u8] = b"security.capability";

/// In the order of their numbers (linux/capability.h).
const NAMES: [&str; 41] = [
    "chown",
    "dac_override",
    "dac_read_search",
    "fowner",
    "fsetid",
    "kill",
    "setgid",
    "setuid",
    "setpcap",
    "linux_immutable",
    "net_bind_service",
    "net_broadcast",
    "net_admin",
    "net_raw",
    "ipc_lock",
    "ipc_owner",
    "sys_module",
    "sys_rawio",
    "sys_chroot",
    "sys_ptrace",
    "sys_pacct",
    "sys_admin",
    "sys_boot",
    "sys_nice",
    "sys_resource",
    "sys_time",
    "sys_tty_config",
    "mknod",
    "lease",
    "audit_write",
    "audit_control",
    "setfcap",
    "mac_override",
    "mac_admin",
    "syslog",
    "wake_alarm",
    "block_suspend",
    "audit_read",
    "perfmon",
    "bpf",
    "checkpoint_restore",
];

#[allow(clippy::unnecessary_wraps, reason = "as every rule")]
fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (path, node) in subject.tree.iter() {
        let Some(value) = node.meta.xattrs.get(ATTRIBUTE) else {
            continue;
        };
        let what = names(value).unwrap_or_else(|| "capabilities".to_owned());
        let message = format!("has {what} of its own, whoever starts it");
        found.push(Finding::new(RULE.name, (path, node), what, message));
    }
    Ok(found)
}

/// The permitted and inheritable capabilities of `struct vfs_cap_data`: its magic, then low words, then
/// high ones. `None` where it is another one.
fn names(value: &[u8]) -> Option<String> {
    let word = |at: usize| -> Option<u64> {
        let bytes: [u8; 4] = *value.get(at..)?.first_chunk()?;
        Some(u32::from_le_bytes(bytes).into())
    };
    let all = word(4)? | word(8)? | (word(12)? | word(16)?) << 32;
    let held = (0..).zip(NAMES).filter(|(bit, _)| all >> bit & 1 != 0);
    let names: Vec<String> = held.map(|(_, name)| format!("cap_{name}")).collect();
    (!names.is_empty()).then(|| names.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file};

    #[test]
    fn capabilities_are_named() {
        let with = |value: &[u8]| {
            let mut node = file(0o755, "x");
            node.meta.xattrs.insert(ATTRIBUTE.to_vec(), value.to_vec());
            node
        };
        let value = [
            1, 0, 0, 2, 0, 0x24, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0,
        ];
        let image = Image::new(&[("usr/bin/plain", "x")])
            .with("usr/bin/ping", with(&value))
            .with("usr/bin/odd", with(&[1]));
        assert_eq!(
            image.findings(&RULE),
            [
                "/usr/bin/odd: capabilities",
                "/usr/bin/ping: cap_net_bind_service,cap_net_raw,cap_bpf",
            ]
        );
    }
}
