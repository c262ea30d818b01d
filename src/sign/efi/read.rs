//! Taking apart what others wrote.

use uuid::Uuid;

use super::format::GUID_LEN;

/// Why bytes are no signature list or signed variable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// They end too early.
    #[error("it ends inside {0}")]
    Truncated(&'static str),
    /// A size that contradicts another one.
    #[error("the {what} says {found} bytes, which does not fit")]
    Size {
        /// Which field.
        what: &'static str,
        /// Its value.
        found: u32,
    },
    /// A signature list's own header, which no type of signature has.
    #[error("a signature list has a header of {0} bytes; expected none")]
    ListHeader(u32),
    /// A time with something in a field that has to be zero, or none of the calendar.
    #[error("its time is not one that a signed variable may have")]
    Time,
    /// A signature that is not PKCS #7.
    #[error(
        "its signature is of revision {revision:#06x}, type {kind:#06x}, {guid}; expected PKCS #7"
    )]
    NotPkcs7 {
        /// WIN_CERTIFICATE's revision.
        revision: u16,
        /// WIN_CERTIFICATE's type.
        kind: u16,
        /// WIN_CERTIFICATE_UEFI_GUID's type.
        guid: Uuid,
    },
}

/// Takes `len` bytes off the front.
pub(super) fn take<'a>(
    rest: &mut &'a [u8],
    len: usize,
    what: &'static str,
) -> Result<&'a [u8], FormatError> {
    let (taken, left) = rest
        .split_at_checked(len)
        .ok_or(FormatError::Truncated(what))?;
    *rest = left;
    Ok(taken)
}

fn array<const N: usize>(rest: &mut &[u8], what: &'static str) -> Result<[u8; N], FormatError> {
    let (taken, left) = rest
        .split_first_chunk::<N>()
        .ok_or(FormatError::Truncated(what))?;
    *rest = left;
    Ok(*taken)
}

pub(super) fn u8(rest: &mut &[u8], what: &'static str) -> Result<u8, FormatError> {
    array::<1>(rest, what).map(|[byte]| byte)
}

pub(super) fn u16(rest: &mut &[u8], what: &'static str) -> Result<u16, FormatError> {
    array(rest, what).map(u16::from_le_bytes)
}

pub(super) fn u32(rest: &mut &[u8], what: &'static str) -> Result<u32, FormatError> {
    array(rest, what).map(u32::from_le_bytes)
}

pub(super) fn guid(rest: &mut &[u8], what: &'static str) -> Result<Uuid, FormatError> {
    array::<GUID_LEN>(rest, what).map(Uuid::from_bytes_le)
}
