//! EFI_SIGNATURE_LIST (UEFI 2.10, section 32.4.1): what `PK`, `KEK`, `db` and `dbx` hold.

use anyhow::{Context as _, Result};
use uuid::Uuid;

use super::format::{CERT_SHA256, CERT_X509, GUID_LEN, LIST_HEADER_LEN};
use super::read::{self, FormatError};

/// One line of a signature database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who put it there; any GUID.
    pub owner: Uuid,
    /// What is trusted or forbidden.
    pub signature: Signature,
}

/// What an entry is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signature {
    /// Everything signed by the key of this X.509 certificate (DER).
    Certificate(Vec<u8>),
    /// The image with this Authenticode digest.
    Sha256([u8; 32]),
    /// A type that we write for nobody and keep for those who have it.
    Other {
        /// The type's GUID.
        kind: Uuid,
        /// Its data.
        data: Vec<u8>,
    },
}

impl Signature {
    const fn kind(&self) -> Uuid {
        match self {
            Self::Certificate(_) => CERT_X509,
            Self::Sha256(_) => CERT_SHA256,
            Self::Other { kind, .. } => *kind,
        }
    }

    fn data(&self) -> &[u8] {
        match self {
            Self::Certificate(data) | Self::Other { data, .. } => data,
            Self::Sha256(digest) => digest,
        }
    }
}

/// The lists that hold `entries` in their order: neighbours of the same type and size share one, but
/// for certificates, which have one each, as firmware and other tools write them.
///
/// # Errors
/// An entry exceeds 4 GiB.
pub fn write(entries: &[Entry]) -> Result<Vec<u8>> {
    let together = |a: &Entry, b: &Entry| {
        let (a, b) = (&a.signature, &b.signature);
        a.kind() == b.kind() && a.kind() != CERT_X509 && a.data().len() == b.data().len()
    };
    let mut out = Vec::new();
    for group in entries.chunk_by(together) {
        let Some(first) = group.first() else { continue };
        let size = GUID_LEN + first.signature.data().len();
        let narrow = |size: usize| u32::try_from(size).context("a signature list exceeds 4 GiB");
        out.extend_from_slice(&first.signature.kind().to_bytes_le());
        out.extend_from_slice(&narrow(LIST_HEADER_LEN + size * group.len())?.to_le_bytes());
        out.extend_from_slice(&0u32.to_le_bytes());
        out.extend_from_slice(&narrow(size)?.to_le_bytes());
        for entry in group {
            out.extend_from_slice(&entry.owner.to_bytes_le());
            out.extend_from_slice(entry.signature.data());
        }
    }
    Ok(out)
}

/// The entries of all lists in `data`.
///
/// # Errors
/// Sizes contradict each other, or the bytes end too early.
pub fn read(mut data: &[u8]) -> Result<Vec<Entry>, FormatError> {
    let mut entries = Vec::new();
    while !data.is_empty() {
        let mut header = read::take(&mut data, LIST_HEADER_LEN, "a signature list's header")?;
        let what = "a signature list's header";
        let kind = read::guid(&mut header, what)?;
        let list_size = read::u32(&mut header, what)?;
        let header_size = read::u32(&mut header, what)?;
        let size = read::u32(&mut header, what)?;
        if header_size != 0 {
            return Err(FormatError::ListHeader(header_size));
        }
        let body_len =
            (list_size as usize)
                .checked_sub(LIST_HEADER_LEN)
                .ok_or(FormatError::Size {
                    what: "size of a signature list",
                    found: list_size,
                })?;
        let body = read::take(&mut data, body_len, "a signature list")?;
        let wrong_size = FormatError::Size {
            what: "size of a signature",
            found: size,
        };
        let size = size as usize;
        let fits = size >= GUID_LEN && body_len.is_multiple_of(size);
        if !fits {
            return Err(wrong_size);
        }
        for mut signature in body.chunks_exact(size) {
            let owner = read::guid(&mut signature, "a signature")?;
            let data = signature;
            entries.push(Entry {
                owner,
                signature: match kind {
                    CERT_X509 => Signature::Certificate(data.to_vec()),
                    CERT_SHA256 => Signature::Sha256(data.try_into().map_err(|_| wrong_size)?),
                    kind => Signature::Other {
                        kind,
                        data: data.to_vec(),
                    },
                },
            });
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OWNER: Uuid = uuid::uuid!("11111111-2222-3333-4444-123456789abc");

    fn entries() -> impl Strategy<Value = Vec<Entry>> {
        let signature = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(Signature::Certificate),
            any::<[u8; 32]>().prop_map(Signature::Sha256),
            proptest::collection::vec(any::<u8>(), 0..4)
                .prop_map(|data| Signature::Other { kind: OWNER, data }),
        ];
        let entry = (any::<u128>(), signature).prop_map(|(owner, signature)| Entry {
            owner: Uuid::from_u128(owner),
            signature,
        });
        proptest::collection::vec(entry, 0..8)
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(entries in entries()) {
            prop_assert_eq!(read(&write(&entries).unwrap()).unwrap(), entries);
        }

        #[test]
        fn nothing_makes_the_reader_panic(
            entries in entries(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut data = write(&entries).unwrap();
            if !data.is_empty() {
                let at = at.index(data.len());
                data[at] = byte;
                data.truncate(cut.index(data.len() + 1));
            }
            let _ = read(&data);
        }

        #[test]
        fn neither_do_random_bytes(data in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&data);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_specification() {
        let digest = |byte| Entry {
            owner: OWNER,
            signature: Signature::Sha256([byte; 32]),
        };
        let certificate = |bytes: &[u8]| Entry {
            owner: OWNER,
            signature: Signature::Certificate(bytes.to_vec()),
        };
        let bytes = write(&[
            certificate(b"one"),
            certificate(b"two"),
            digest(1),
            digest(2),
        ])
        .unwrap();
        insta::assert_snapshot!(dump(&bytes));
    }

    fn dump(bytes: &[u8]) -> String {
        bytes
            .chunks(16)
            .map(|row| crate::digest::hex(row) + "\n")
            .collect()
    }

    #[test]
    fn sizes_that_contradict_each_other_are_refused() {
        let good = write(&[Entry {
            owner: OWNER,
            signature: Signature::Sha256([7; 32]),
        }])
        .unwrap();
        let with = |at: usize, value: u32| {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
            read(&bytes).unwrap_err().to_string()
        };
        for (at, value, expected) in [
            (16, 27, "the size of a signature list says 27 bytes"),
            (16, 77, "it ends inside a signature list"),
            (16, 75, "the size of a signature says 48 bytes"),
            (20, 4, "a header of 4 bytes"),
            (24, 0, "the size of a signature says 0 bytes"),
            (24, 24, "the size of a signature says 24 bytes"),
        ] {
            let error = with(at, value);
            assert!(error.contains(expected), "{expected}: {error}");
        }
        assert_eq!(
            read(&good[..20]),
            Err(FormatError::Truncated("a signature list's header"))
        );
    }
}
