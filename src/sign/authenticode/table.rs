//! The certificate table at the end of a signed PE image (PE specification, "The Attribute
//! Certificate Table").
//!
//! Images of ours have a table of one fixed size from the start: signing later, or again, changes no
//! length, no offset and no digest. An entry's length may exceed its signature's: firmware (EDK2's
//! DxeImageVerificationLib), shim and the kernel take the signature's length from its DER.

use anyhow::{Context as _, Result, ensure};
use authenticode::{WIN_CERT_REVISION_2_0, WIN_CERT_TYPE_PKCS_SIGNED_DATA};

use crate::failure::{Failure, Kind};
use crate::uki::format::optional;
use crate::uki::read::Pe;

/// Table entries begin at multiples of this.
const ALIGNMENT: usize = 8;
/// Length of a WIN_CERTIFICATE header.
const HEADER_LEN: usize = 8;
/// Length of the certificate table of every image that hullwright signs: one entry, header included.
pub const PLACE: usize = 8192;
/// The longest signature that fits.
pub(super) const ROOM: usize = PLACE - HEADER_LEN;

/// `pe` with an empty place for a signature at its end; what a place held already goes.
///
/// # Errors
/// `pe` is no PE image, has no room for the directory entry, or has a certificate table that is not
/// of our making.
pub fn reserve(mut pe: Vec<u8>) -> Result<Vec<u8>> {
    let parsed = Pe::parse(&pe).context("reading the image to sign")?;
    ensure!(
        parsed.has_certificate_directory(),
        "the image to sign has no data directory for a certificate table"
    );
    let directory_at = parsed.certificate_directory_at();
    match parsed.certificates() {
        None => pe.resize(pe.len().next_multiple_of(ALIGNMENT), 0),
        Some(_) => {
            let start = place(&parsed).ok_or_else(|| {
                Failure::new(
                    Kind::Usage,
                    "the image to sign has a signature that hullwright did not make",
                )
                .hint(
                    "use the unsigned file: for Debian's, the one in the package without `-signed`",
                )
            })?;
            pe.truncate(start);
        }
    }
    let start = pe.len();
    pe.reserve_exact(PLACE);
    let narrow = |value: usize| u32::try_from(value).context("the signed image exceeds 4 GiB");
    // The entry's length includes its padding: readers that walk the table without rounding end in
    // the right place.
    pe.extend_from_slice(&narrow(PLACE)?.to_le_bytes());
    pe.extend_from_slice(&WIN_CERT_REVISION_2_0.to_le_bytes());
    pe.extend_from_slice(&WIN_CERT_TYPE_PKCS_SIGNED_DATA.to_le_bytes());
    pe.resize(start + PLACE, 0);
    put(&mut pe, directory_at, narrow(start)?)?;
    put(&mut pe, directory_at + 4, narrow(PLACE)?)?;
    renew_checksum(&mut pe)?;
    Ok(pe)
}

/// Where the place for a signature begins in an image that has one.
#[must_use]
pub fn place(pe: &Pe<'_>) -> Option<usize> {
    let table = pe.certificates()?;
    let header = pe.data().get(table.start..table.start + HEADER_LEN)?;
    let len = u32::from_le_bytes(header.get(..4)?.try_into().ok()?);
    let ours = table.len() == PLACE
        && table.end == pe.data().len()
        && table.start.is_multiple_of(ALIGNMENT)
        && len as usize == PLACE;
    ours.then_some(table.start)
}

/// Puts `signature` into the place of an image from [`reserve`].
pub(super) fn fill(pe: &mut [u8], signature: &[u8]) -> Result<()> {
    let start = place(&Pe::parse(pe)?).context("the image has no place for a signature")?;
    if signature.len() > ROOM {
        return Err(Failure::new(
            Kind::Keys,
            format!(
                "the signature of the image has {} bytes, and its place {ROOM}",
                signature.len()
            ),
        )
        .hint("use a certificate with fewer extensions")
        .into());
    }
    let body = pe
        .get_mut(start + HEADER_LEN..)
        .context("writing outside the certificate table")?;
    body.fill(0);
    body.get_mut(..signature.len())
        .context("writing outside the certificate table")?
        .copy_from_slice(signature);
    renew_checksum(pe)
}

/// The signatures of a table, without headers; empty places are left out.
pub(super) fn entries(pe: &Pe<'_>) -> Result<Vec<Vec<u8>>> {
    let Some(table) = pe.certificates() else {
        return Ok(Vec::new());
    };
    let mut rest = pe
        .data()
        .get(table)
        .context("reading the certificate table")?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (entry, next) = split_entry(rest)?;
        rest = next;
        if entry.iter().any(|byte| *byte != 0) {
            out.push(entry.to_vec());
        }
    }
    Ok(out)
}

/// The first entry of a certificate table, without its header, and what follows.
fn split_entry(table: &[u8]) -> Result<(&[u8], &[u8])> {
    let header: [u8; HEADER_LEN] = table
        .get(..HEADER_LEN)
        .and_then(|bytes| bytes.try_into().ok())
        .context("the certificate table ends inside an entry's header")?;
    let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let revision = u16::from_le_bytes([header[4], header[5]]);
    let kind = u16::from_le_bytes([header[6], header[7]]);
    let body = table
        .get(HEADER_LEN..len)
        .context("the certificate table has an entry with an impossible length")?;
    ensure!(
        revision == WIN_CERT_REVISION_2_0 && kind == WIN_CERT_TYPE_PKCS_SIGNED_DATA,
        "the certificate table has an entry of revision {revision:#06x}, type {kind:#06x}; \
         expected 0x0200 and 0x0002"
    );
    let next = len.next_multiple_of(ALIGNMENT).min(table.len());
    Ok((body, table.get(next..).unwrap_or_default()))
}

fn renew_checksum(pe: &mut [u8]) -> Result<()> {
    let at = Pe::parse(pe)?.optional_at() + optional::CHECKSUM;
    put(pe, at, 0)?;
    let checksum = pe_checksum(pe)?;
    put(pe, at, checksum)
}

fn put(data: &mut [u8], at: usize, value: u32) -> Result<()> {
    data.get_mut(at..at + 4)
        .context("writing outside the PE header")?
        .copy_from_slice(&value.to_le_bytes());
    Ok(())
}

/// The PE checksum of `data`, whose own field is zero: the 16-bit words added with end-around carry,
/// plus the length.
fn pe_checksum(data: &[u8]) -> Result<u32> {
    // Words of eight bytes are added in halves: a sum of 16-bit words modulo 2^16 - 1 is that of
    // any wider words, since 2^32 is 1 modulo it.
    let (wide, rest) = data.as_chunks::<8>();
    let mut sum = wide.iter().fold(0_u64, |sum, word| {
        let word = u64::from_le_bytes(*word);
        sum + (word & 0xffff_ffff) + (word >> 32)
    });
    sum += rest
        .chunks(2)
        .map(|pair| u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or(0)) << 8)
        .sum::<u64>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u32::try_from(sum + data.len() as u64).context("the signed image exceeds 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uki::write::tests::{kernel, stub};

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        assert_eq!(pe_checksum(&[1, 2, 3]).unwrap(), 0x0201 + 3 + 3);
        assert_eq!(pe_checksum(&[0xff; 4]).unwrap(), 0xffff + 4);
        let bytes: Vec<u8> = (0..1021_u32).map(|n| ((n * 7919) >> 3) as u8).collect();
        let word =
            |pair: &[u8]| u64::from(pair[0]) | u64::from(pair.get(1).copied().unwrap_or(0)) << 8;
        let mut sum: u64 = bytes.chunks(2).map(word).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        assert_eq!(u64::from(pe_checksum(&bytes).unwrap()), sum + 1021);
    }

    #[test]
    fn a_place_is_one_empty_entry_of_fixed_size_and_reserving_again_empties_it() {
        let image = kernel();
        let reserved = reserve(image.clone()).unwrap();
        assert_eq!(reserved.len(), image.len() + PLACE);
        let start = place(&Pe::parse(&reserved).unwrap()).unwrap();
        assert_eq!(start, image.len());
        assert_eq!(reserved[start..start + 8], [0, 0x20, 0, 0, 0, 2, 2, 0]);
        assert!(reserved[start + 8..].iter().all(|byte| *byte == 0));
        assert!(entries(&Pe::parse(&reserved).unwrap()).unwrap().is_empty());

        let mut filled = reserved.clone();
        fill(&mut filled, &[7; ROOM]).unwrap();
        assert_eq!(entries(&Pe::parse(&filled).unwrap()).unwrap(), [[7; ROOM]]);
        assert_ne!(filled, reserved);
        assert_eq!(reserve(filled).unwrap(), reserved);
    }

    #[test]
    fn a_signature_that_exceeds_the_place_is_refused() {
        let mut reserved = reserve(stub()).unwrap();
        let before = reserved.clone();
        let error = fill(&mut reserved, &[7; ROOM + 1]).unwrap_err();
        assert_eq!(crate::failure::kind_of(&error), Kind::Keys);
        assert!(error.to_string().contains("8185 bytes"), "{error}");
        assert_eq!(reserved, before);
        assert!(fill(&mut stub(), &[7]).is_err());
    }

    #[test]
    fn a_signature_by_others_is_never_replaced() {
        let mut foreign = kernel();
        let start = foreign.len();
        let directory = Pe::parse(&foreign).unwrap().certificate_directory_at();
        foreign.extend_from_slice(&[16, 0, 0, 0, 0, 2, 2, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
        put(&mut foreign, directory, start as u32).unwrap();
        put(&mut foreign, directory + 4, 16).unwrap();
        let error = reserve(foreign).unwrap_err();
        assert!(error.to_string().contains("did not make"), "{error}");
    }
}
