//! Inputs that are the same on every machine.

use std::fmt::Write as _;

use hullwright::kernel::Module;

/// xorshift32 (Marsaglia, "Xorshift RNGs", 2003).
struct Numbers(u32);

impl Iterator for Numbers {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        Some(self.0 as usize)
    }
}

const WORDS: &[&str] = &[
    "the ",
    "linker ",
    "copies ",
    "a ",
    "block ",
    "of ",
    "mapped ",
    "pages, ",
    "\n",
    "0x7f ",
    "return ",
    "static ",
    "const ",
    "(",
    ") ",
    "systemd",
    ".service ",
    "ELF\0\0\0\u{1}",
    "/usr/lib/",
];

/// Bytes that compress about as well as programs do.
pub fn prose(len: usize) -> Vec<u8> {
    let mut numbers = Numbers(len as u32 | 1);
    let mut out = Vec::with_capacity(len + 32);
    while out.len() < len {
        let number = numbers.next().unwrap_or(0);
        if number.is_multiple_of(3) {
            out.extend_from_slice(&(number as u32).to_le_bytes());
        } else {
            out.extend_from_slice(WORDS[number / 3 % WORDS.len()].as_bytes());
        }
    }
    out.truncate(len);
    out
}

fn add(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    archive
        .append_data(&mut header, name, bytes)
        .expect("memory takes everything");
}

/// A tar archive with `count` files in `folder`.
pub fn tar(folder: &str, count: usize) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for number in 0..count {
        let bytes = prose(number % 50 * 40);
        let name = format!("./{folder}/{:02}/{number}", number % 37);
        add(&mut builder, &name, &bytes);
    }
    builder.into_inner().expect("memory takes everything")
}

/// A package with `files` files of its own in folders that others have, too.
pub fn deb(number: usize, files: usize) -> Vec<u8> {
    let control = format!(
        "Package: thing{number}\nVersion: 1.{number}\nArchitecture: all\nMaintainer: Nobody\n"
    );
    let mut builder = tar::Builder::new(Vec::new());
    add(&mut builder, "./control", control.as_bytes());
    let control = builder.into_inner().expect("memory takes everything");
    let data = tar(&format!("usr/share/thing{number}"), files);
    let mut out = b"!<arch>\n".to_vec();
    for (name, bytes) in [
        ("debian-binary", b"2.0\n".as_slice()),
        ("control.tar", &control),
        ("data.tar", &data),
    ] {
        // deb(5), ar(5): name, time, owner, group, mode, size.
        let header = format!(
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n",
            0,
            0,
            0,
            100_644,
            bytes.len()
        );
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(bytes);
        if !bytes.len().is_multiple_of(2) {
            out.push(b'\n');
        }
    }
    out
}

/// Kernel modules with aliases and symbols, each needing those before it.
pub fn modules(count: usize) -> Vec<Module> {
    (0..count)
        .map(|number| Module {
            path: format!("kernel/drivers/net/d{}/m{number}.ko", number % 40),
            file: [0; 32],
            name: format!("m{number}"),
            depends: Vec::new(),
            aliases: (0..10)
                .map(|n| format!("pci:v{number:08X}d{n:08X}sv*sd*bc*sc*i*"))
                .collect(),
            softdeps: Vec::new(),
            weakdeps: Vec::new(),
            firmware: Vec::new(),
            exports: (0..4).map(|n| format!("symbol_{number}_{n}")).collect(),
            needs: [7, 31]
                .into_iter()
                .filter_map(|back| number.checked_sub(back))
                .map(|needed| format!("symbol_{needed}_1"))
                .collect(),
        })
        .collect()
}

/// A Packages index with `count` stanzas.
pub fn packages(count: usize) -> Vec<u8> {
    let mut out = String::new();
    for number in 0..count {
        let _ = write!(
            out,
            "Package: thing{number}\nSource: things\nVersion: 1:{number}.2-3+deb13u1\n\
             Installed-Size: {number}\nMaintainer: Nobody <nobody@example.org>\n\
             Architecture: {}\nDepends: libc6 (>= 2.38), thing{} (= 1:2-3), a | b\n\
             Description: words that nobody reads: {number}\n\
             Homepage: https://example.org/{number}\nSection: misc\nPriority: optional\n\
             Filename: pool/main/t/things/thing{number}_1_all.deb\nSize: {}\n\
             MD5sum: 00000000000000000000000000000000\nSHA256: {number:064x}\n\n",
            ["amd64", "all", "arm64"][number % 3],
            number / 2,
            number + 1,
        );
    }
    out.into_bytes()
}
