//! Reads a variable store.

use uuid::Uuid;

use super::format::{
    ADDED, ALIGNMENT, AUTHENTICATED_STORE, BEING_REPLACED, ERASED, FORMATTED, HEALTHY,
    NV_DATA_VOLUME, PLAIN_STORE, START_ID, STORE_HEADER, VARIABLE_HEADER, VOLUME_HEADER,
    VOLUME_SIGNATURE, Variable, volume,
};

/// What is wrong with a variable store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VarStoreError {
    /// A compressed or layered disk format of QEMU's.
    #[error("this is a qcow2 file, and a raw one is needed")]
    Qcow2,
    /// No firmware volume for variables at the beginning.
    #[error("no firmware volume of UEFI variables is at the beginning")]
    NotAVolume,
    /// The sum over the volume's header is not zero.
    #[error("the header of the firmware volume is damaged: its words add up to {0:#06x}")]
    Checksum(u16),
    /// The store's variables have no time stamps: firmware without Secure Boot.
    #[error("the variables are of firmware without Secure Boot")]
    NotAuthenticated,
    /// The header of the store is none.
    #[error("no variable store follows the header of the firmware volume")]
    NotAStore,
    /// A length that leads out of what contains it.
    #[error("{what} at offset {at:#x} leads out of its container")]
    OutOfBounds {
        /// What has the length.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// A name that is not UTF-16 with a NUL at its end.
    #[error("the variable at offset {at:#x} has no proper name")]
    Name {
        /// Where its header is.
        at: usize,
    },
    /// The variables need more than the store has.
    #[error("the variables need {needed} bytes, the store has {space}")]
    Full {
        /// Bytes that all variables take.
        needed: usize,
        /// Bytes of the store without its header.
        space: usize,
    },
}

/// A flash image with the variables that are in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VarStore {
    /// Everything around the variables.
    pub(super) image: Vec<u8>,
    /// Where the first variable begins.
    pub(super) begin: usize,
    /// Where the store ends.
    pub(super) end: usize,
    /// In their order.
    pub(super) variables: Vec<Variable>,
}

fn bytes<const N: usize>(image: &[u8], at: usize) -> Option<[u8; N]> {
    image.get(at..)?.first_chunk().copied()
}

fn u16_at(image: &[u8], at: usize) -> Option<u16> {
    bytes(image, at).map(u16::from_le_bytes)
}

fn u32_at(image: &[u8], at: usize) -> Option<u32> {
    bytes(image, at).map(u32::from_le_bytes)
}

fn u64_at(image: &[u8], at: usize) -> Option<u64> {
    bytes(image, at).map(u64::from_le_bytes)
}

fn guid_at(image: &[u8], at: usize) -> Option<Uuid> {
    bytes(image, at).map(Uuid::from_bytes_le)
}

/// The sum of all 16-bit words.
pub(super) fn sum16(header: &[u8]) -> u16 {
    header.chunks_exact(2).fold(0, |sum: u16, word| {
        sum.wrapping_add(u16::from_le_bytes([word[0], word[1]]))
    })
}

impl VarStore {
    /// Reads the flash image `image`.
    ///
    /// # Errors
    /// See [`VarStoreError`].
    pub fn parse(image: Vec<u8>) -> Result<Self, VarStoreError> {
        if image.starts_with(b"QFI\xfb") {
            return Err(VarStoreError::Qcow2);
        }
        let (begin, end) = bounds(&image)?;
        let variables = variables(&image, begin, end)?;
        Ok(Self {
            image,
            begin,
            end,
            variables,
        })
    }

    /// The variables in force, in the order of the store.
    #[must_use]
    pub fn variables(&self) -> &[Variable] {
        &self.variables
    }

    /// The variable `name` of `vendor`.
    #[must_use]
    pub fn get(&self, vendor: Uuid, name: &str) -> Option<&Variable> {
        self.variables.iter().find(|v| v.is(vendor, name))
    }
}

/// Where the variables begin and end.
fn bounds(image: &[u8]) -> Result<(usize, usize), VarStoreError> {
    let signature = image.get(volume::SIGNATURE..volume::SIGNATURE + VOLUME_SIGNATURE.len());
    if guid_at(image, volume::FILE_SYSTEM) != Some(NV_DATA_VOLUME)
        || signature != Some(VOLUME_SIGNATURE)
    {
        return Err(VarStoreError::NotAVolume);
    }
    let out = |what, at| VarStoreError::OutOfBounds { what, at };
    let volume_end = u64_at(image, volume::LENGTH)
        .and_then(|length| usize::try_from(length).ok())
        .filter(|&length| length <= image.len())
        .ok_or(out("the firmware volume", 0))?;
    let header = u16_at(image, volume::HEADER_LENGTH)
        .map(usize::from)
        .filter(|length| (VOLUME_HEADER..=volume_end).contains(length))
        .ok_or(out("the header of the firmware volume", 0))?;
    let sum = image.get(..header).map_or(0, sum16);
    if sum != 0 {
        return Err(VarStoreError::Checksum(sum));
    }
    match guid_at(image, header) {
        Some(AUTHENTICATED_STORE) => {}
        Some(PLAIN_STORE) => return Err(VarStoreError::NotAuthenticated),
        _ => return Err(VarStoreError::NotAStore),
    }
    if image.get(header + 20..header + 22) != Some(&[FORMATTED, HEALTHY]) {
        return Err(VarStoreError::NotAStore);
    }
    let end = u32_at(image, header + 16)
        .and_then(|size| header.checked_add(usize::try_from(size).ok()?))
        .filter(|&end| end <= volume_end && end >= header + STORE_HEADER)
        .ok_or(out("the variable store", header))?;
    Ok((
        (header + STORE_HEADER).next_multiple_of(ALIGNMENT).min(end),
        end,
    ))
}

fn variables(image: &[u8], begin: usize, end: usize) -> Result<Vec<Variable>, VarStoreError> {
    let store = image.get(..end).unwrap_or_default();
    let mut found: Vec<(u8, Variable)> = Vec::new();
    let mut at = begin;
    while u16_at(store, at) == Some(START_ID) {
        let out = VarStoreError::OutOfBounds {
            what: "the variable",
            at,
        };
        let Some(header) = bytes::<VARIABLE_HEADER>(store, at) else {
            return Err(out);
        };
        // A write that was interrupted may have left a length erased; nothing follows then.
        let length = |offset| match u32_at(&header, offset) {
            Some(u32::MAX) | None => Some(0),
            Some(length) => usize::try_from(length).ok(),
        };
        let name_at = at + VARIABLE_HEADER;
        let data_at = length(36).and_then(|length| name_at.checked_add(length));
        let next = data_at.zip(length(40)).and_then(|(a, b)| a.checked_add(b));
        let (Some(data_at), Some(next)) = (data_at, next) else {
            return Err(out);
        };
        let (Some(name), Some(data)) = (store.get(name_at..data_at), store.get(data_at..next))
        else {
            return Err(out);
        };
        let state = header[2];
        if matches!(state, ADDED | BEING_REPLACED) {
            let variable = Variable {
                vendor: guid_at(&header, 44).unwrap_or_default(),
                name: name_of(name).ok_or(VarStoreError::Name { at })?,
                attributes: u32_at(&header, 4).unwrap_or_default(),
                timestamp: bytes(&header, 16).unwrap_or_default(),
                monotonic_count: u64_at(&header, 8).unwrap_or_default(),
                public_key_index: u32_at(&header, 32).unwrap_or_default(),
                data: data.to_vec(),
            };
            found.push((state, variable));
        }
        at = next.next_multiple_of(ALIGNMENT);
    }
    let in_force = |(index, (state, variable)): (usize, &(u8, Variable))| {
        let same = |other: &(u8, Variable)| other.1.is(variable.vendor, &variable.name);
        let newer = |wanted| move |other: &(u8, Variable)| other.0 == wanted && same(other);
        match *state {
            ADDED => !found.iter().take(index).any(newer(ADDED)),
            _ => {
                !found.iter().any(newer(ADDED))
                    && !found.iter().take(index).any(newer(BEING_REPLACED))
            }
        }
    };
    Ok(found
        .iter()
        .enumerate()
        .filter(|entry| in_force(*entry))
        .map(|(_, (_, variable))| variable.clone())
        .collect())
}

fn name_of(bytes: &[u8]) -> Option<String> {
    let words: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    let (&0, name) = words.split_last()? else {
        return None;
    };
    if !bytes.len().is_multiple_of(2) || name.contains(&0) {
        return None;
    }
    String::from_utf16(name).ok()
}

/// Whether this is flash that nothing was ever written to.
pub(super) fn is_blank(image: &[u8]) -> bool {
    image.iter().all(|&byte| byte == 0) || image.iter().all(|&byte| byte == ERASED)
}
