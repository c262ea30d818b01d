//! Names and GUIDs of an image's partitions, and the bytes of its partition table.

use uuid::Uuid;

use super::format::{
    BACKUP_SECTORS, ENTRIES, ENTRY_LEN, ENTRY_SECTORS, Entry, FIRST_USABLE, Header, READ_ONLY,
    SECTOR, hybrid_mbr, protective_mbr,
};
use super::layout::{ImageLayout, Role};
use crate::digest::Sha256;
use crate::stamp::Seed;

/// Label of a partition that holds no version; systemd-sysupdate fills those first.
pub const EMPTY_LABEL: &str = "_empty";

/// What names and GUIDs are made from.
#[derive(Debug, Clone, Copy)]
pub struct Identity<'a> {
    /// `os.id`.
    pub os_id: &'a str,
    /// `os.version`.
    pub version: &'a str,
    /// Root hash of `/usr`.
    pub root_hash: Sha256,
    /// Source of the GUIDs that nothing else determines.
    pub seed: Seed,
}

/// PARTUUIDs of usr and usr-verity: the halves of the root hash, by which the initrd finds both.
#[must_use]
pub fn usr_partuuids(root_hash: &Sha256) -> (Uuid, Uuid) {
    let (mut first, mut second) = ([0; 16], [0; 16]);
    first.copy_from_slice(&root_hash.0[..16]);
    second.copy_from_slice(&root_hash.0[16..]);
    (Uuid::from_bytes(first), Uuid::from_bytes(second))
}

/// Label of a partition: `ID_usr_VERSION` and so on. With the longest id and version they have 35 of
/// the 36 characters that fit.
#[must_use]
pub fn label(role: Role, has_content: bool, os_id: &str, version: &str) -> String {
    let kind = match role {
        Role::Esp => return "esp".into(),
        _ if !has_content => return EMPTY_LABEL.into(),
        Role::UsrA | Role::UsrB => "usr",
        Role::VerityA | Role::VerityB => "vty",
        Role::SignatureA | Role::SignatureB => "sig",
    };
    format!("{os_id}_{kind}_{version}")
}

/// The bytes of both tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableBytes {
    /// Protective MBR, header and entries, from offset 0.
    pub primary: Vec<u8>,
    /// Entries and header at the end of the disk.
    pub backup: Vec<u8>,
    /// Offset of the backup.
    pub backup_offset: u64,
}

/// The entries of `layout`.
#[must_use]
pub fn entries(layout: &ImageLayout, identity: &Identity<'_>) -> Vec<Entry> {
    let (usr, verity) = usr_partuuids(&identity.root_hash);
    layout
        .partitions()
        .iter()
        .map(|part| Entry {
            type_guid: part.role.type_guid(layout.arch()),
            guid: match part.role {
                Role::UsrA => usr,
                Role::VerityA => verity,
                role => identity.seed.uuid(&format!("gpt:{}", role.name())),
            },
            first: part.offset / SECTOR,
            last: (part.offset + part.size) / SECTOR - 1,
            attributes: if part.role.is_read_only() {
                READ_ONLY
            } else {
                0
            },
            name: label(
                part.role,
                part.content > 0,
                identity.os_id,
                identity.version,
            ),
        })
        .collect()
}

fn mbr(layout: &ImageLayout) -> [u8; SECTOR as usize] {
    match layout.partition(Role::Esp) {
        Some(esp) if layout.hybrid_mbr() => hybrid_mbr(esp.offset / SECTOR, esp.size / SECTOR),
        _ => protective_mbr(layout.disk_size() / SECTOR),
    }
}

/// The partition table of `layout`.
#[must_use]
pub fn bytes(layout: &ImageLayout, identity: &Identity<'_>) -> TableBytes {
    let sectors = layout.disk_size() / SECTOR;
    let mut array = vec![0; ENTRIES * ENTRY_LEN];
    for (entry, slot) in entries(layout, identity)
        .iter()
        .zip(array.chunks_exact_mut(ENTRY_LEN))
    {
        slot.copy_from_slice(&entry.to_bytes());
    }
    let last = sectors - 1;
    let primary = Header {
        at: 1,
        other: last,
        first_usable: FIRST_USABLE,
        last_usable: sectors - BACKUP_SECTORS - 1,
        disk_guid: identity.seed.uuid("gpt:disk"),
        entries_at: 2,
        entries: ENTRIES as u32,
        entry_len: ENTRY_LEN as u32,
        entries_crc: crc32fast::hash(&array),
    };
    let backup = Header {
        at: last,
        other: 1,
        entries_at: last - ENTRY_SECTORS,
        ..primary.clone()
    };
    let sector = |header: &Header| {
        let mut bytes = header.to_bytes().to_vec();
        bytes.resize(SECTOR as usize, 0);
        bytes
    };
    TableBytes {
        primary: [mbr(layout).to_vec(), sector(&primary), array.clone()].concat(),
        backup: [array, sector(&backup)].concat(),
        backup_offset: (sectors - BACKUP_SECTORS) * SECTOR,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::disk::format::NAME_UNITS;
    use crate::disk::layout::tests::CONTENT;
    use crate::profile::schema::Disk;

    fn identity() -> Identity<'static> {
        Identity {
            os_id: "hullwright",
            version: "1.0.0",
            root_hash: Sha256(std::array::from_fn(|i| i as u8)),
            seed: Seed::new(&[b"test"]),
        }
    }

    /// Nodes in the field rely on every line of this: a change here needs a plan for them.
    #[test]
    fn the_partition_table_is_the_one_of_the_contract() {
        let mut text = String::new();
        for arch in [Arch::X86_64, Arch::Arm64] {
            let layout = ImageLayout::plan(&Disk::default(), arch, CONTENT).unwrap();
            text += &format!("{arch} {} bytes\n", layout.disk_size());
            for (number, e) in (1..).zip(entries(&layout, &identity())) {
                text += &format!(
                    "{number} {:>8} {:>8} {:016x} {} {} {}\n",
                    e.first, e.last, e.attributes, e.type_guid, e.guid, e.name
                );
            }
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn a_hybrid_mbr_lists_the_esp_and_covers_what_lies_before_it() {
        let layout = ImageLayout::plan(&Disk::default(), Arch::Arm64, CONTENT)
            .unwrap()
            .with_hybrid_mbr(true);
        let table = bytes(&layout, &identity());
        let entry = |n: usize| &table.primary[446 + 16 * n..][..16];
        let numbers = |n: usize| {
            let number = |at: usize| u32::from_le_bytes(entry(n)[at..at + 4].try_into().unwrap());
            (entry(n)[4], number(8), number(12))
        };
        assert_eq!(numbers(0), (0x0c, 2048, 1 << 21));
        assert_eq!(numbers(1), (0xee, 1, 2047));
        assert_eq!(numbers(2), (0, 0, 0));
        let plain = bytes(&layout.with_hybrid_mbr(false), &identity());
        assert_eq!(plain.primary[512..], table.primary[512..]);
    }

    #[test]
    fn the_longest_names_fit_a_label() {
        let id = "a".repeat(10);
        let version = "1".repeat(20);
        for role in Role::ALL {
            assert!(label(role, true, &id, &version).len() < NAME_UNITS);
        }
    }

    #[test]
    fn partuuids_are_the_halves_of_the_root_hash_as_text() {
        let hash = identity().root_hash;
        let (usr, verity) = usr_partuuids(&hash);
        let joined = format!("{}{}", usr.simple(), verity.simple());
        assert_eq!(joined, hash.to_string());
    }

    #[test]
    fn an_independent_reader_agrees_with_both_tables() {
        let layout = ImageLayout::plan(&Disk::default(), Arch::X86_64, CONTENT).unwrap();
        let table = bytes(&layout, &identity());
        let mut map = crate::esp::sparse::PageMap::new(layout.disk_size());
        let mut put = |at: u64, data: &[u8]| {
            use std::io::{Seek as _, Write as _};
            map.seek(std::io::SeekFrom::Start(at)).unwrap();
            map.write_all(data).unwrap();
        };
        put(0, &table.primary);
        put(table.backup_offset, &table.backup);
        let disk = gpt::GptConfig::new()
            .writable(false)
            .open_from_device(map)
            .unwrap();
        assert_eq!(
            disk.primary_header().unwrap().disk_guid,
            disk.backup_header().unwrap().disk_guid
        );
        let read: Vec<_> = disk
            .partitions()
            .values()
            .map(|p| {
                (
                    p.part_type_guid.guid,
                    p.part_guid,
                    p.first_lba,
                    p.last_lba,
                    p.flags,
                    p.name.clone(),
                )
            })
            .collect();
        let written: Vec<_> = entries(&layout, &identity())
            .into_iter()
            .map(|e| (e.type_guid, e.guid, e.first, e.last, e.attributes, e.name))
            .collect();
        assert_eq!(read, written);
    }
}
