//! Facts of a small image, for tests.

use std::collections::BTreeMap;

use crate::arch::Arch;
use crate::digest::Sha256;
use crate::release::facts::{
    Accounts, Entry, EntryKind, Facts, Group, Package, Partition, Privileged, Sizes, Summary, Unit,
    User,
};

/// A package of which three files are in the image.
pub fn package(name: &str, version: &str, source: &str) -> Package {
    Package {
        name: name.into(),
        version: version.into(),
        architecture: "amd64".into(),
        source: Some(source.into()),
        files: 3,
        bytes: 2048,
    }
}

/// A regular file whose content is `text`.
pub fn file(path: &str, text: &str, from: &str) -> Entry {
    Entry {
        path: path.into(),
        kind: EntryKind::File {
            size: text.len() as u64,
            sha256: Sha256::of(text.as_bytes()),
            first: None,
        },
        mode: 0o644,
        uid: 0,
        gid: 0,
        xattrs: BTreeMap::new(),
        from: from.into(),
    }
}

/// A privileged file.
pub fn privileged(path: &str, mode: &str) -> Privileged {
    Privileged {
        path: path.into(),
        mode: mode.into(),
        owner: "0:0".into(),
        capabilities: None,
        from: "tools".into(),
    }
}

/// A unit.
pub fn unit(name: &str, enabled: bool) -> Unit {
    Unit {
        name: name.into(),
        enabled,
        masked: false,
        sha256: Sha256::of(name.as_bytes()),
    }
}

/// The facts.
pub fn facts() -> Facts {
    let user = |number: u32| User {
        uid: number,
        gid: number,
        home: "/".into(),
        shell: "/usr/sbin/nologin".into(),
    };
    let group = |gid| Group {
        gid,
        members: ["root".to_owned()].into(),
    };
    let partition = |role: &str, offset: u64, size: u64| Partition {
        role: role.into(),
        offset: offset << 20,
        size: size << 20,
    };
    Facts {
        summary: Summary {
            id: "os".into(),
            version: "1.0".into(),
            arch: Arch::X86_64,
            stamp: 1_700_000_000,
            root_hash: Sha256::of(b"1.0"),
            kernel: "6.12.48".into(),
            cmdline: "usrhash=11 console=tty0 console=ttyS0 quiet".into(),
            sizes: Sizes {
                usr: 100 << 20,
                verity: 1 << 20,
                uki: 40 << 20,
                kernel: 10 << 20,
                initrd: 25 << 20,
                files: 300 << 20,
            },
            disk: 700 << 20,
            layout: vec![partition("esp", 1, 256), partition("usr-a", 257, 200)],
            packages: vec![
                package("bash", "5.2-1", "bash"),
                package("libsystemd0", "257.8-1", "systemd"),
                package("systemd", "257.8-1", "systemd"),
                package("tools", "2:1.0-1+b1", "tools"),
            ],
            privileged: vec![privileged("/usr/bin/su", "4755")],
            units: vec![unit("a.service", true), unit("b.service", false)],
            accounts: Accounts {
                users: [("root".to_owned(), user(0)), ("svc".into(), user(301))].into(),
                groups: [("root".to_owned(), group(0)), ("kvm".into(), group(302))].into(),
            },
        },
        files: vec![
            file("/usr/bin/bash", "bash", "bash"),
            file("/usr/bin/su", "su", "tools"),
            file(
                "/usr/lib/modules/6.12.48/kernel/fs/erofs.ko.xz",
                "erofs",
                "linux",
            ),
            file(
                "/usr/lib/modules/6.12.48/kernel/net/old.ko.xz",
                "old",
                "linux",
            ),
            file("/usr/share/factory/etc/issue", "os 1", "base-files"),
        ],
        kernel_config: Some(b"CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=y\n".to_vec()),
    }
}
