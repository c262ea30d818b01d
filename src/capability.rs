//! The value of `security.capability`, `struct vfs_cap_data` (capabilities(7), "File capability extended
//! attribute versioning").

use std::fmt;

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

/// What a program may do, whoever starts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether they hold from the start, and need not be raised by the program.
    pub effective: bool,
    /// A bit for each that the program has.
    pub permitted: u64,
    /// A bit for each that it has where whoever starts it may pass it on.
    pub inheritable: u64,
}

impl Capabilities {
    /// Those of a value: a magic with version and flag, then pairs of permitted and inheritable words, the
    /// low ones first. `None` where it is of no known version.
    #[must_use]
    pub fn parse(value: &[u8]) -> Option<Self> {
        let word = |index: usize| -> Option<u32> {
            let bytes = value.get(index * 4..)?.first_chunk()?;
            Some(u32::from_le_bytes(*bytes))
        };
        let magic = word(0)?;
        let pairs = match magic >> 24 {
            1 => 1,
            2 | 3 => 2,
            _ => return None,
        };
        let (mut permitted, mut inheritable) = (0_u64, 0_u64);
        for pair in 0..pairs {
            permitted |= u64::from(word(1 + pair * 2)?) << (32 * pair);
            inheritable |= u64::from(word(2 + pair * 2)?) << (32 * pair);
        }
        Some(Self {
            effective: magic & 1 == 1,
            permitted,
            inheritable,
        })
    }

    /// The names of all of them, in the order of their numbers; a number where the kernel has no name.
    pub fn names(&self) -> impl Iterator<Item = String> + use<> {
        let all = self.permitted | self.inheritable;
        (0..64).filter(move |bit| all >> bit & 1 == 1).map(name)
    }
}

fn name(bit: usize) -> String {
    NAMES
        .get(bit)
        .map_or_else(|| bit.to_string(), |name| format!("cap_{name}"))
}

/// As `getcap` prints them.
impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for bit in 0..64 {
            let has = |set: u64| set >> bit & 1 == 1;
            let mut flags = String::new();
            if self.effective && (has(self.permitted) || has(self.inheritable)) {
                flags.push('e');
            }
            if has(self.inheritable) {
                flags.push('i');
            }
            if has(self.permitted) {
                flags.push('p');
            }
            if flags.is_empty() || flags == "e" {
                continue;
            }
            match groups.iter_mut().find(|(known, _)| *known == flags) {
                Some((_, names)) => names.push(name(bit)),
                None => groups.push((flags, vec![name(bit)])),
            }
        }
        let groups: Vec<_> = groups
            .into_iter()
            .map(|(flags, names)| format!("{}={flags}", names.join(",")))
            .collect();
        f.write_str(&groups.join(" "))
    }
}
