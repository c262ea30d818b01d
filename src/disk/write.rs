//! Writes the disk as a sparse file: only data is written, everything else is a hole.
//!
//! The report lists the data by what it is, never by what the file system made of it, so that the
//! hash of a disk is the same wherever it was built.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;
use sha2::Digest as _;

use super::layout::{ImageLayout, Planned, Role};
use super::table::{self, Identity};
use crate::digest::Sha256;
use crate::esp::SparseImage;

/// Read and hashed at a time.
const CHUNK: usize = 1 << 20;
/// Zero blocks of this length are not written.
const BLOCK: usize = 4096;

/// A partition's content in a file.
#[derive(Debug, Clone, Copy)]
pub struct PartFile<'a> {
    /// The file.
    pub path: &'a Path,
    /// Its hash where it is known; then the kernel copies it, by reference where it can.
    pub sha256: Option<Sha256>,
}

/// The content of all partitions.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// The EFI system partition.
    pub esp: &'a SparseImage,
    /// The erofs image.
    pub usr: PartFile<'a>,
    /// Its verity data.
    pub verity: PartFile<'a>,
    /// The signature of its root hash.
    pub signature: Option<&'a [u8]>,
}

/// A range of the disk that holds data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Extent {
    /// Offset in bytes.
    pub offset: u64,
    /// Length in bytes.
    pub len: u64,
    /// Hash of the bytes.
    pub sha256: Sha256,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskReport {
    /// Length of the disk.
    pub size: u64,
    /// Data, ascending; everything else reads as zeros.
    pub extents: Vec<Extent>,
    /// The disk's hash: SHA-256 over offset and length (64 bits each, little-endian) and hash of
    /// every extent. The partition tables are extents too, so it covers the disk's size.
    pub sha256: Sha256,
}

/// Writes a new disk to `path`.
///
/// # Errors
/// The file can't be written, or a part's length is not the one that the layout was planned with.
pub fn write_disk(
    path: &Path,
    layout: &ImageLayout,
    parts: &Parts<'_>,
    identity: &Identity<'_>,
) -> Result<DiskReport> {
    begin(path, layout, &parts.usr, &parts.verity)?.finish(
        layout,
        parts.esp,
        parts.signature,
        identity,
    )
}

/// A disk that has its first slot, and nothing else yet.
#[derive(Debug)]
pub struct Begun {
    disk: File,
    path: PathBuf,
    slot: [Copied; 2],
}

#[derive(Debug)]
struct Copied {
    role: Role,
    extent: Extent,
}

/// Makes a new disk at `path` and copies the first slot to where `layout` has it. That place does not
/// depend on what the ESP holds, so the largest part of a disk can be written before there is a UKI.
///
/// # Errors
/// The file can't be written, or a part's length is not the one that the layout was planned with.
pub fn begin(
    path: &Path,
    layout: &ImageLayout,
    usr: &PartFile<'_>,
    verity: &PartFile<'_>,
) -> Result<Begun> {
    let disk = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("creating {}", path.display()))?;
    let copied = |role: Role, part: &PartFile<'_>| -> Result<Copied> {
        let planned = layout.partition(role).context("a layout without a slot")?;
        let extent = copy(&disk, planned, part)
            .with_context(|| format!("writing partition {}", role.name()))
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Copied { role, extent })
    };
    Ok(Begun {
        slot: [copied(Role::UsrA, usr)?, copied(Role::VerityA, verity)?],
        path: path.to_owned(),
        disk,
    })
}

impl Begun {
    /// Writes the partition tables and all other partitions.
    ///
    /// # Errors
    /// The file can't be written, a part's length is not the one that the layout was planned with, or
    /// the layout has the first slot elsewhere.
    pub fn finish(
        self,
        layout: &ImageLayout,
        esp: &SparseImage,
        signature: Option<&[u8]>,
        identity: &Identity<'_>,
    ) -> Result<DiskReport> {
        let write = || -> Result<DiskReport> {
            self.disk
                .set_len(layout.disk_size())
                .context("setting the length")?;
            let mut extents = Vec::new();
            let table = table::bytes(layout, identity);
            extents.push(put(&self.disk, 0, &table.primary)?);
            for part in layout.partitions() {
                self.write_part(part, esp, signature, &mut extents)
                    .with_context(|| format!("writing partition {}", part.role.name()))?;
            }
            extents.push(put(&self.disk, table.backup_offset, &table.backup)?);
            Ok(DiskReport {
                size: layout.disk_size(),
                sha256: disk_hash(&extents),
                extents,
            })
        };
        write().with_context(|| format!("writing {}", self.path.display()))
    }

    fn write_part(
        &self,
        part: &Planned,
        esp: &SparseImage,
        signature: Option<&[u8]>,
        extents: &mut Vec<Extent>,
    ) -> Result<()> {
        match part.role {
            Role::Esp => {
                ensure!(
                    esp.size() == part.size,
                    "the ESP's image has {} bytes, its partition {}",
                    esp.size(),
                    part.size
                );
                for run in esp.runs() {
                    let pieces: Vec<_> = run.pieces().collect();
                    extents.push(put_pieces(&self.disk, part.offset + run.offset, &pieces)?);
                }
            }
            Role::UsrA | Role::VerityA => {
                for copied in self.slot.iter().filter(|copied| copied.role == part.role) {
                    check_len(part, copied.extent.len)?;
                    ensure!(
                        copied.extent.offset == part.offset,
                        "it was written at {}, and belongs at {}",
                        copied.extent.offset,
                        part.offset
                    );
                    extents.push(copied.extent);
                }
            }
            Role::SignatureA => {
                let data = signature.unwrap_or_default();
                check_len(part, data.len() as u64)?;
                if !data.is_empty() {
                    extents.push(put(&self.disk, part.offset, data)?);
                }
            }
            Role::UsrB | Role::VerityB | Role::SignatureB => {}
        }
        Ok(())
    }
}

/// The hash of a disk from its extents.
#[must_use]
pub fn disk_hash(extents: &[Extent]) -> Sha256 {
    let mut hash = sha2::Sha256::new();
    for extent in extents {
        hash.update(extent.offset.to_le_bytes());
        hash.update(extent.len.to_le_bytes());
        hash.update(extent.sha256.0);
    }
    Sha256(hash.finalize().into())
}

fn check_len(part: &Planned, len: u64) -> Result<()> {
    ensure!(
        len == part.content,
        "its content has {len} bytes, and {} were planned",
        part.content
    );
    Ok(())
}

fn put(disk: &File, offset: u64, data: &[u8]) -> Result<Extent> {
    put_pieces(disk, offset, &[data])
}

/// Writes what lies in pieces as one extent.
fn put_pieces(disk: &File, offset: u64, pieces: &[&[u8]]) -> Result<Extent> {
    let len = pieces.iter().map(|piece| piece.len() as u64).sum();
    let write = || {
        let mut at = offset;
        for piece in pieces {
            disk.write_all_at(piece, at)?;
            at += piece.len() as u64;
        }
        Ok::<_, std::io::Error>(())
    };
    let (written, sha256) = rayon::join(write, || Sha256::of_pieces(pieces));
    written.with_context(|| format!("writing {len} bytes at {offset}"))?;
    Ok(Extent {
        offset,
        len,
        sha256,
    })
}

/// Copies a file into its partition; one extent, holes and all.
fn copy(disk: &File, part: &Planned, source: &PartFile<'_>) -> Result<Extent> {
    let shown = source.path.display();
    let mut file = File::open(source.path).with_context(|| format!("opening {shown}"))?;
    let len = file
        .metadata()
        .with_context(|| format!("reading the length of {shown}"))?
        .len();
    check_len(part, len)?;
    let sha256 = match source.sha256 {
        Some(known) => {
            let done = copy_in_kernel(disk, part.offset, &file, len)
                .with_context(|| format!("copying {shown}"))?;
            if done < len {
                copy_and_hash(disk, part.offset, &mut file, done, len)
                    .with_context(|| format!("copying {shown}"))?;
            }
            known
        }
        None => copy_and_hash(disk, part.offset, &mut file, 0, len)
            .with_context(|| format!("copying {shown}"))?,
    };
    Ok(Extent {
        offset: part.offset,
        len,
        sha256,
    })
}

/// Copies with `copy_file_range`; returns how far that went, which on file systems without it is
/// nowhere.
#[cfg(target_os = "linux")]
fn copy_in_kernel(disk: &File, offset: u64, source: &File, len: u64) -> Result<u64> {
    use rustix::io::Errno;

    let (mut from, mut to) = (0, offset);
    while from < len {
        let want = usize::try_from(len - from)
            .unwrap_or(usize::MAX)
            .min(1 << 30);
        match rustix::fs::copy_file_range(source, Some(&mut from), disk, Some(&mut to), want) {
            Ok(0) | Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
    }
    Ok(from)
}

#[cfg(not(target_os = "linux"))]
fn copy_in_kernel(_: &File, _: u64, _: &File, _: u64) -> Result<u64> {
    Ok(0)
}

/// Copies from `from` to the end through memory, leaving out zeros; the hash is of what it copied.
fn copy_and_hash(
    disk: &File,
    offset: u64,
    source: &mut File,
    from: u64,
    len: u64,
) -> Result<Sha256> {
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut at = from;
    source.seek(SeekFrom::Start(from))?;
    while at < len {
        let want = usize::try_from(len - at).unwrap_or(CHUNK).min(CHUNK);
        let chunk = &mut buffer[..want];
        source.read_exact(chunk)?;
        hash.update(&*chunk);
        write_nonzero(disk, offset + at, chunk)?;
        at += want as u64;
    }
    Ok(Sha256(hash.finalize().into()))
}

/// Writes the runs of `data` whose blocks are not all zero.
fn write_nonzero(disk: &File, offset: u64, data: &[u8]) -> Result<()> {
    let mut run = 0..0;
    for (index, block) in data.chunks(BLOCK).enumerate() {
        let start = index * BLOCK;
        if block.iter().all(|byte| *byte == 0) {
            continue;
        }
        if run.end == start && !run.is_empty() {
            run.end = start + block.len();
            continue;
        }
        disk.write_all_at(&data[run.clone()], offset + run.start as u64)?;
        run = start..start + block.len();
    }
    disk.write_all_at(&data[run.clone()], offset + run.start as u64)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::arch::Arch;
    use crate::disk::layout::ContentSizes;
    use crate::disk::read::GptTable;
    use crate::esp::{EspContent, EspFile, build};
    use crate::profile::schema::{ByteSize, Disk, DiskSize, MIB};
    use crate::stamp::{Seed, Stamp};

    #[test]
    fn a_disk_holds_its_parts_where_the_table_says_and_holes_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        // Zeros in the middle, and a length that is no multiple of anything.
        let mut usr = vec![0; 3 * MIB as usize + 5];
        usr[..10].fill(1);
        usr[2_500_000..2_600_000].fill(2);
        let verity = vec![3; 5000];
        let (usr_path, verity_path) = (dir.path().join("usr"), dir.path().join("vty"));
        std::fs::write(&usr_path, &usr).unwrap();
        std::fs::write(&verity_path, &verity).unwrap();
        let sizes = Disk {
            size: DiskSize::Bytes(ByteSize(700 * MIB)),
            esp: ByteSize(34 * MIB),
            usr: ByteSize(4 * MIB),
            verity: ByteSize(MIB),
            signature: ByteSize(MIB),
            slack: ByteSize(10 * MIB),
        };
        let content = ContentSizes {
            usr: usr.len() as u64,
            verity: verity.len() as u64,
            signature: 7,
            uki: 1000,
            esp_other: 1000,
        };
        let layout = ImageLayout::plan(&sizes, Arch::X86_64, content).unwrap();
        let esp = build(&EspContent {
            files: vec![EspFile {
                path: "loader/loader.conf".into(),
                data: b"timeout 0\n".to_vec().into(),
            }],
            size: 34 * MIB,
            label: "ESP".into(),
            serial: 1,
            stamp: Stamp::from_seconds(1_800_000_000),
        })
        .unwrap();
        let identity = Identity {
            os_id: "os",
            version: "1.0",
            root_hash: Sha256::of(b"root"),
            seed: Seed::new(&[b"t"]),
        };
        let write = |name: &str, known: bool| {
            let part = |path, data: &[u8]| PartFile {
                path,
                sha256: known.then(|| Sha256::of(data)),
            };
            let parts = Parts {
                esp: &esp,
                usr: part(&usr_path, &usr),
                verity: part(&verity_path, &verity),
                signature: Some(b"signed!"),
            };
            let path = dir.path().join(name);
            let report = write_disk(&path, &layout, &parts, &identity).unwrap();
            (path, report)
        };
        let (path, report) = write("a.raw", false);
        let (other, same) = write("b.raw", true);
        assert_eq!(report, same, "whoever copies, the report is the same");
        let bytes = std::fs::read(&path).unwrap();
        assert!(bytes == std::fs::read(&other).unwrap());
        assert_eq!(bytes.len() as u64, 700 * MIB);
        assert!(std::fs::metadata(&path).unwrap().blocks() * 512 < 4 * MIB);

        let table = GptTable::read(&mut std::io::Cursor::new(&bytes)).unwrap();
        let content_of = |name: &str, len: usize| {
            let at = table.by_name(name).unwrap().offset() as usize;
            &bytes[at..at + len]
        };
        assert!(content_of("os_usr_1.0", usr.len()) == usr);
        assert_eq!(content_of("os_vty_1.0", verity.len()), verity);
        assert_eq!(content_of("os_sig_1.0", 7), b"signed!");

        // The report accounts for every byte that is not zero.
        let mut rest = bytes.clone();
        let mut last = 0;
        for extent in &report.extents {
            let range = extent.offset as usize..(extent.offset + extent.len) as usize;
            assert!(extent.offset >= last);
            last = extent.offset + extent.len;
            assert_eq!(Sha256::of(&bytes[range.clone()]), extent.sha256);
            rest[range].fill(0);
        }
        assert!(rest.iter().all(|b| *b == 0));

        let again = Parts {
            esp: &esp,
            usr: PartFile {
                path: &verity_path,
                sha256: None,
            },
            verity: PartFile {
                path: &verity_path,
                sha256: None,
            },
            signature: None,
        };
        let error = write_disk(&dir.path().join("c.raw"), &layout, &again, &identity).unwrap_err();
        assert!(format!("{error:#}").contains("were planned"), "{error:#}");
        assert!(
            write_disk(&path, &layout, &again, &identity).is_err(),
            "never overwrites"
        );
    }
}
