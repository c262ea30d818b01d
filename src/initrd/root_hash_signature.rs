//! The last archive of an initrd: the signature of the root hash, in a place of fixed size.
//!
//! systemd-veritysetup takes a signature as a file only (systemd 257, `root-hash-signature=` of
//! veritytab(5)). The file lies in an archive of its own that is not compressed and always has
//! [`SIZE`] bytes: the kernel takes zeros behind an archive, and one that starts at a multiple of four
//! (`init/initramfs.c`, `unpack_to_rootfs`). So another signature, or the first one for an image that
//! was built without, changes these bytes of a UKI and moves none.

use std::ops::Range;

use anyhow::{Context as _, Result};

use super::cpio;
use crate::failure::{Failure, Kind as FailureKind};
use crate::stamp::Stamp;
use crate::tree::{Kind, Meta, Node, Origin, Tree, TreePath};

/// Where the initrd has the signature, without a leading slash.
pub const PATH: &str = "usr/lib/hullwright/usr.p7s";
/// Bytes of the archive. A signature by a key of 4096 bits takes about 700.
pub const SIZE: usize = 4096;
/// Where an archive may start.
const ALIGNMENT: usize = 4;

/// The archive with the signature `p7s` (PKCS #7, DER), or with an empty file, which no kernel takes,
/// as its place.
///
/// # Errors
/// The signature is too long.
pub fn segment(p7s: Option<&[u8]>) -> Result<[u8; SIZE]> {
    let p7s = p7s.unwrap_or_default();
    let mut tree = Tree::new();
    tree.insert(
        TreePath::parse(PATH)?,
        Node {
            meta: Meta::root(0o644),
            kind: Kind::File {
                content: p7s.to_vec().into(),
                link: None,
            },
            origin: Origin::Generated("the signature of the root hash".into()),
        },
    );
    // No time, so that whoever signs again needs none.
    let archive = cpio::write(&cpio::members(&tree, Stamp::from_seconds(0), 1)?)?;
    let mut out = [0; SIZE];
    out.get_mut(..archive.len())
        .ok_or_else(|| {
            Failure::new(
                FailureKind::Keys,
                format!(
                    "the signature of the root hash has {} bytes; the initrd has room for {}",
                    p7s.len(),
                    SIZE.saturating_sub(archive.len() - p7s.len())
                ),
            )
            .hint("use a key of at most 4096 bits and a certificate with a short issuer name")
        })?
        .copy_from_slice(&archive);
    Ok(out)
}

/// Appends the archive to an initrd.
///
/// # Errors
/// As [`segment`].
pub fn append(initrd: &mut Vec<u8>, p7s: Option<&[u8]>) -> Result<()> {
    let segment = segment(p7s).context("adding the signature of the root hash to the initrd")?;
    initrd.resize(initrd.len().next_multiple_of(ALIGNMENT), 0);
    initrd.extend_from_slice(&segment);
    Ok(())
}

/// Where the archive is in an initrd, as it lies in the `.initrd` section; nothing if it has none.
#[must_use]
pub fn locate(initrd: &[u8]) -> Option<Range<usize>> {
    let start = initrd.len().checked_sub(SIZE)?;
    let segment = initrd.get(start..)?;
    content(segment)?;
    start
        .is_multiple_of(ALIGNMENT)
        .then_some(start..initrd.len())
}

/// The signature in an initrd; nothing if it has no place for one. An empty one is a place that waits
/// for its signature.
#[must_use]
pub fn read(initrd: &[u8]) -> Option<&[u8]> {
    content(initrd.get(locate(initrd)?)?)
}

/// The signature in an archive that has nothing else.
fn content(segment: &[u8]) -> Option<&[u8]> {
    let (entries, len) = cpio::archive(segment).ok()?;
    let (last, folders) = entries.split_last()?;
    let only_folders = folders
        .iter()
        .all(|entry| entry.header.mode & cpio::format::TYPE == cpio::format::DIRECTORY);
    let rest_is_empty = segment.get(len..)?.iter().all(|byte| *byte == 0);
    (last.name == PATH.as_bytes() && only_folders && rest_is_empty).then_some(last.data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_signature_is_found_again_and_replaced_in_place() {
        let signature = vec![0x30; 700];
        for before in [0, 1, 2, 3, 4, 1001] {
            let mut initrd = vec![7; before];
            append(&mut initrd, None).unwrap();
            assert_eq!(initrd.len(), before.next_multiple_of(4) + SIZE);
            assert_eq!(read(&initrd), Some(&b""[..]));
            let place = locate(&initrd).unwrap();
            initrd[place.clone()].copy_from_slice(&segment(Some(&signature)).unwrap());
            assert_eq!(locate(&initrd), Some(place));
            assert_eq!(read(&initrd), Some(&signature[..]));
            let mut at_once = vec![7; before];
            append(&mut at_once, Some(&signature)).unwrap();
            assert_eq!(initrd, at_once);
        }
    }

    #[test]
    fn the_kernel_sees_the_file_behind_all_others() {
        let mut initrd = Vec::new();
        append(&mut initrd, Some(b"signed")).unwrap();
        let mut seen = Vec::new();
        super::super::list(&initrd, |entry| {
            seen.push((
                String::from_utf8_lossy(entry.name).into_owned(),
                entry.data.to_vec(),
            ));
            Ok(())
        })
        .unwrap();
        assert_eq!(seen.last(), Some(&(PATH.to_owned(), b"signed".to_vec())));
    }

    #[test]
    fn a_signature_that_is_too_long_is_refused_with_the_room() {
        let room = (0..SIZE)
            .rev()
            .find(|len| segment(Some(&vec![1; *len])).is_ok())
            .unwrap();
        let error = segment(Some(&vec![1; room + 4])).unwrap_err().to_string();
        assert!(
            error.contains(&format!("has {} bytes", room + 4)),
            "{error}"
        );
        assert!(room > 3000, "{room}");
    }

    #[test]
    fn what_is_not_the_archive_is_not_found() {
        let good = segment(Some(b"x")).unwrap();
        let mut shifted = vec![0; 2];
        shifted.extend(good);
        let mut tail = good;
        tail[SIZE - 1] = 1;
        for bytes in [&b""[..], &good[1..], &shifted, &tail, &[0; SIZE]] {
            assert_eq!(locate(bytes), None);
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0..SIZE, byte: u8, cut in 0..SIZE) {
            let mut bytes = segment(Some(b"signature")).unwrap().to_vec();
            bytes[at] = byte;
            let _ = read(&bytes);
            let _ = read(&bytes[cut..]);
        }
    }
}
