//! Packages made by tests: a small writer of ar, tar, PAX and `.deb`.

use std::io::{Cursor, Write as _};

use super::decompress::Codec;

pub fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = b"!<arch>\n".to_vec();
    for (name, data) in members {
        let size = data.len();
        writeln!(
            out,
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`",
            0, 0, 0, 100_644
        )
        .unwrap();
        out.extend_from_slice(data);
        if size % 2 == 1 {
            out.push(b'\n');
        }
    }
    out
}

pub fn compress(codec: Codec, plain: &[u8], block: Option<u64>) -> Vec<u8> {
    match codec {
        Codec::None => plain.to_vec(),
        Codec::Gzip => {
            let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
        Codec::Zstd => zstd::encode_all(plain, 1).unwrap(),
        Codec::Xz => {
            let mut options = lzma_rust2::XzOptions::with_preset(1);
            options.check_type = lzma_rust2::CheckType::Crc64;
            options.block_size = block.and_then(std::num::NonZeroU64::new);
            let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
            writer.write_all(plain).unwrap();
            writer.finish().unwrap()
        }
    }
}

pub fn pax_records(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut len = rest + 1;
        while len != rest + len.to_string().len() {
            len = rest + len.to_string().len();
        }
        write!(out, "{len} {key}=").unwrap();
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    out
}

/// One member to be written.
#[derive(Clone)]
pub struct Item {
    pub header: tar::Header,
    pub data: Vec<u8>,
}

/// A member of `kind` with owner root, mode 0644 and the link target `link`.
pub fn item(kind: tar::EntryType, name: &str, link: &str, data: &[u8]) -> Item {
    let mut header = tar::Header::new_gnu();
    let gnu = header.as_gnu_mut().unwrap();
    // The crate's setters refuse what hostile archives hold.
    gnu.name[..name.len()].copy_from_slice(name.as_bytes());
    gnu.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_entry_type(kind);
    header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(data.len() as u64);
    Item {
        header,
        data: data.to_vec(),
    }
}

pub fn dir(name: &str) -> Item {
    item(tar::EntryType::Directory, name, "", b"")
}

pub fn file(name: &str, data: &[u8]) -> Item {
    item(tar::EntryType::Regular, name, "", data)
}

pub fn symlink(name: &str, target: &str) -> Item {
    item(tar::EntryType::Symlink, name, target, b"")
}

pub fn hardlink(name: &str, target: &str) -> Item {
    item(tar::EntryType::Link, name, target, b"")
}

impl Item {
    pub fn mode(mut self, mode: u32) -> Self {
        self.header.set_mode(mode);
        self
    }

    pub fn owner(mut self, uid: u64, gid: u64) -> Self {
        self.header.set_uid(uid);
        self.header.set_gid(gid);
        self
    }

    pub fn declares(mut self, size: u64) -> Self {
        self.header.set_size(size);
        self
    }
}

/// The blocks of `items` without the end of the archive.
pub fn tar_open(items: &[Item]) -> Vec<u8> {
    let mut out = Vec::new();
    for item in items {
        let mut header = item.header.clone();
        header.set_cksum();
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(&item.data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out
}

pub fn tar(items: &[Item]) -> Vec<u8> {
    let mut out = tar_open(items);
    out.resize((out.len() + 1024).next_multiple_of(10_240), 0);
    out
}

/// A `.deb` with the fields `control` and the members of `data.tar` as given.
pub fn deb_raw(control: &str, data: &[u8]) -> Vec<u8> {
    let control = tar(&[dir("./"), file("./control", control.as_bytes())]);
    ar(&[
        ("debian-binary", b"2.0\n"),
        ("control.tar.gz", &compress(Codec::Gzip, &control, None)),
        ("data.tar.zst", &compress(Codec::Zstd, data, None)),
    ])
}

pub fn control(name: &str, version: &str, more: &str) -> String {
    format!("Package: {name}\nVersion: {version}\nArchitecture: amd64\n{more}")
}

pub fn deb(name: &str, version: &str, more: &str, items: &[Item]) -> Vec<u8> {
    deb_raw(&control(name, version, more), &tar(items))
}

pub const SETTINGS: crate::erofs::CodecSettings = crate::erofs::CodecSettings {
    codec: crate::erofs::Codec::Zstd,
    level: 1,
    chunk: 65_536,
    tails: crate::erofs::Tails::Own,
};

/// Compiles what `deb` made.
pub fn object(
    name: &str,
    version: &str,
    more: &str,
    items: &[Item],
) -> std::sync::Arc<super::PackageObject> {
    let bytes = Cursor::new(deb(name, version, more, items)).into_inner();
    let sha256 = crate::digest::Sha256::of(&bytes);
    std::sync::Arc::new(super::compile::parse(bytes, sha256, &SETTINGS).unwrap())
}
