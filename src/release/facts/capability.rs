//! The value of `security.capability` (capabilities(7), "File capability extended attribute
//! versioning") as `getcap` prints it.

/// The attribute.
pub const XATTR: &str = "security.capability";

/// Names of the capabilities by number, from the kernel's `uapi/linux/capability.h`.
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

/// Text of a value in hexadecimal; the value itself where it is of no known version.
pub fn text(value: &str) -> String {
    parse(value).unwrap_or_else(|| value.to_owned())
}

fn word(value: &str, index: usize) -> Option<u32> {
    let digits = value.get(index * 8..index * 8 + 8)?;
    u32::from_str_radix(digits, 16).ok().map(u32::swap_bytes)
}

fn parse(value: &str) -> Option<String> {
    let magic = word(value, 0)?;
    let effective = magic & 1 == 1;
    let words = match magic >> 24 {
        1 => 1,
        2 | 3 => 2,
        _ => return None,
    };
    let (mut permitted, mut inheritable) = (0_u64, 0_u64);
    for index in 0..words {
        permitted |= u64::from(word(value, 1 + index * 2)?) << (32 * index);
        inheritable |= u64::from(word(value, 2 + index * 2)?) << (32 * index);
    }
    let mut groups: Vec<(String, Vec<String>)> = Vec::new();
    for bit in 0..64_usize {
        let has = |set: u64| set >> bit & 1 == 1;
        let mut flags = String::new();
        if effective && (has(permitted) || has(inheritable)) {
            flags.push('e');
        }
        if has(inheritable) {
            flags.push('i');
        }
        if has(permitted) {
            flags.push('p');
        }
        if flags.is_empty() || flags == "e" {
            continue;
        }
        let name = NAMES
            .get(bit)
            .map_or_else(|| bit.to_string(), |name| format!("cap_{name}"));
        match groups.iter_mut().find(|(known, _)| *known == flags) {
            Some((_, names)) => names.push(name),
            None => groups.push((flags, vec![name])),
        }
    }
    let groups: Vec<_> = groups
        .into_iter()
        .map(|(flags, names)| format!("{}={flags}", names.join(",")))
        .collect();
    Some(groups.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_getcap_prints_them() {
        for (value, expected) in [
            ("0100000200200000000000000000000000000000", "cap_net_raw=ep"),
            ("0000000200200000000000000000000000000000", "cap_net_raw=p"),
            (
                "01000002c0000000000000000000000000000000",
                "cap_setgid,cap_setuid=ep",
            ),
            ("0100000200000000000000004000000000000000", "cap_perfmon=ep"),
            (
                "010000020020000000200000000000000000000000000000",
                "cap_net_raw=eip",
            ),
            (
                "01000001002000000100000000000000",
                "cap_chown=ei cap_net_raw=ep",
            ),
            ("0000000a", "0000000a"),
            ("", ""),
            ("01000002", "01000002"),
        ] {
            assert_eq!(text(value), expected, "{value}");
        }
    }
}
