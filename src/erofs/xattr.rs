//! Extended attributes behind an inode: a 12-byte header, then entries of prefix number, name
//! without the prefix, and value, each padded to 4 bytes (`struct erofs_xattr_entry`).

use std::collections::BTreeMap;

/// Attribute names by full name, with their values.
pub(super) type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

const HEADER: usize = 12;

/// Prefixes and their numbers (`EROFS_XATTR_INDEX_*`). The ACL names are complete.
const PREFIXES: [(u8, &[u8]); 5] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (6, b"security."),
];

/// Why an attribute cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum XattrError {
    /// The name has no prefix that EROFS knows.
    #[error(
        "extended attribute `{0}` is in no name space that EROFS can store (user, trusted, security, POSIX ACLs)"
    )]
    Name(String),
    /// A name longer than 255 bytes or a value longer than 65535.
    #[error("extended attribute `{0}` is too long")]
    TooLong(String),
    /// All attributes of one inode do not fit its field.
    #[error("extended attributes of one file take {0} bytes, which is too much")]
    TooMany(usize),
}

/// Encodes header and entries; empty when there are none.
pub(super) fn encode(xattrs: &Xattrs) -> Result<Vec<u8>, XattrError> {
    if xattrs.is_empty() {
        return Ok(Vec::new());
    }
    // The name filter stays 0, "anything may be present": its feature bit is not set either.
    let mut out = vec![0; HEADER];
    for (name, value) in xattrs {
        let shown = || String::from_utf8_lossy(name).into_owned();
        let (index, suffix) = PREFIXES
            .iter()
            .find_map(|(index, prefix)| {
                let suffix = name.strip_prefix(*prefix)?;
                let complete = matches!(index, 2 | 3);
                (complete == suffix.is_empty()).then_some((*index, suffix))
            })
            .ok_or_else(|| XattrError::Name(shown()))?;
        let name_len = u8::try_from(suffix.len()).map_err(|_| XattrError::TooLong(shown()))?;
        let value_len = u16::try_from(value.len()).map_err(|_| XattrError::TooLong(shown()))?;
        out.extend([name_len, index]);
        out.extend(value_len.to_le_bytes());
        out.extend_from_slice(suffix);
        out.extend_from_slice(value);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    if count(out.len()).is_none() {
        return Err(XattrError::TooMany(out.len()));
    }
    Ok(out)
}

/// `i_xattr_icount` for an encoded length.
pub(super) fn count(len: usize) -> Option<u16> {
    if len == 0 {
        return Some(0);
    }
    u16::try_from(len.checked_sub(HEADER)? / 4 + 1).ok()
}

/// The encoded length for an `i_xattr_icount`.
pub(super) const fn size(count: u16) -> u64 {
    if count == 0 {
        return 0;
    }
    HEADER as u64 + (count as u64 - 1) * 4
}

/// Decodes header and inline entries; `None` when they are damaged or use shared attributes.
pub(super) fn decode(bytes: &[u8]) -> Option<Xattrs> {
    let mut out = Xattrs::new();
    if bytes.is_empty() {
        return Some(out);
    }
    let (header, mut rest) = bytes.split_at_checked(HEADER)?;
    if header.get(4) != Some(&0) {
        return None;
    }
    while !rest.is_empty() {
        let (&[name_len, index, low, high], body) = rest.split_first_chunk::<4>()?;
        let name_len = usize::from(name_len);
        let value_len = usize::from(u16::from_le_bytes([low, high]));
        let (_, prefix) = PREFIXES.iter().find(|(i, _)| *i == index)?;
        let mut name = prefix.to_vec();
        name.extend_from_slice(body.get(..name_len)?);
        let value = body.get(name_len..name_len + value_len)?.to_vec();
        if out.insert(name, value).is_some() {
            return None;
        }
        rest = rest.get((4 + name_len + value_len).next_multiple_of(4)..)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_survive_encoding() {
        let xattrs: Xattrs = [
            ("security.capability", &[1_u8, 0, 0, 2][..]),
            ("system.posix_acl_access", b"acl"),
            ("trusted.overlay.opaque", b"y"),
            ("user.a", b""),
            ("user.note", &[7; 300]),
        ]
        .map(|(n, v)| (n.as_bytes().to_vec(), v.to_vec()))
        .into();
        let bytes = encode(&xattrs).unwrap();
        assert_eq!(size(count(bytes.len()).unwrap()), bytes.len() as u64);
        assert_eq!(decode(&bytes).unwrap(), xattrs);
        assert_eq!(encode(&Xattrs::new()).unwrap(), b"");
        for cut in 1..bytes.len() {
            assert!(decode(&bytes[..cut]).is_none_or(|got| got != xattrs));
        }
    }

    #[test]
    fn names_and_sizes_that_cannot_be_stored_are_errors() {
        for (name, len) in [
            ("system.other", 1),
            ("user", 1),
            ("user.", 1),
            ("security.x", 70_000),
            ("system.posix_acl_accessory", 1),
        ] {
            let xattrs = Xattrs::from([(name.as_bytes().to_vec(), vec![0; len])]);
            assert!(encode(&xattrs).is_err(), "{name}");
        }
    }
}
