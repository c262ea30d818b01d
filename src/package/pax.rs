//! PAX extended headers (POSIX.1-2017, pax, "pax Header Block").
//!
//! A record is `LENGTH KEY=VALUE\n`, where LENGTH counts itself. Values may hold any byte, newlines
//! included: `security.capability` does. That is why the length rules here and not the newline.

use std::collections::BTreeMap;

/// Prefix of the records that hold extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";
/// `XATTR_NAME_MAX`.
const XATTR_NAME_MAX: usize = 255;
/// `XATTR_SIZE_MAX`.
const XATTR_SIZE_MAX: usize = 65_536;

/// What is wrong with an extended header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaxError {
    /// Not `LENGTH KEY=VALUE\n`.
    #[error("malformed PAX record at byte {0}")]
    Malformed(usize),
    /// A value that is not a number where one is expected.
    #[error("PAX `{key}` is not a number: {value:?}")]
    Number {
        /// Key.
        key: &'static str,
        /// Value.
        value: String,
    },
    /// An extended attribute that Linux can't store.
    #[error("extended attribute `{0}` is empty, too long or contains a NUL byte")]
    Xattr(String),
    /// A record that changes what the member means and is not supported.
    #[error("PAX `{0}` is not supported")]
    Unsupported(String),
}

/// The records that matter for a file tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pax {
    /// `path`.
    pub path: Option<Vec<u8>>,
    /// `linkpath`.
    pub linkpath: Option<Vec<u8>>,
    /// `size`.
    pub size: Option<u64>,
    /// `uid`.
    pub uid: Option<u64>,
    /// `gid`.
    pub gid: Option<u64>,
    /// `SCHILY.xattr.*`, without the prefix.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

fn number(key: &'static str, value: &[u8]) -> Result<u64, PaxError> {
    std::str::from_utf8(value)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| PaxError::Number {
            key,
            value: String::from_utf8_lossy(value).chars().take(40).collect(),
        })
}

/// Splits the first record off `bytes`: key, value, rest.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let digits = bytes.iter().position(|&b| b == b' ')?;
    let text = std::str::from_utf8(bytes.get(..digits)?).ok()?;
    if text.is_empty() || text.len() > 10 || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (record, rest) = bytes.split_at_checked(text.parse().ok()?)?;
    let record = record.get(digits.checked_add(1)?..)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&b| b == b'=')?;
    let (key, value) = record.split_at_checked(equals)?;
    Some((key, value.get(1..)?, rest))
}

/// Parses an extended header; later records win, records that do not concern a tree are ignored.
///
/// # Errors
/// See [`PaxError`].
pub fn parse(bytes: &[u8]) -> Result<Pax, PaxError> {
    let mut pax = Pax::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        let offset = bytes.len() - rest.len();
        let (key, value, next) = record(rest).ok_or(PaxError::Malformed(offset))?;
        rest = next;
        match key {
            b"path" => pax.path = Some(value.to_vec()),
            b"linkpath" => pax.linkpath = Some(value.to_vec()),
            b"size" => pax.size = Some(number("size", value)?),
            b"uid" => pax.uid = Some(number("uid", value)?),
            b"gid" => pax.gid = Some(number("gid", value)?),
            _ if key.starts_with(b"GNU.sparse.") => {
                return Err(PaxError::Unsupported(
                    String::from_utf8_lossy(key).into_owned(),
                ));
            }
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    if name.is_empty()
                        || name.len() > XATTR_NAME_MAX
                        || name.contains(&0)
                        || value.len() > XATTR_SIZE_MAX
                    {
                        let shown = String::from_utf8_lossy(name).chars().take(80).collect();
                        return Err(PaxError::Xattr(shown));
                    }
                    pax.xattrs.insert(name.to_vec(), value.to_vec());
                }
            }
        }
    }
    Ok(pax)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::testing::pax_records;

    #[test]
    fn values_may_hold_newlines_and_equal_signs() {
        let capability = b"\x01\0\0\x02\n=\n\0".as_slice();
        let bytes = pax_records(&[
            ("mtime", b"1.5"),
            ("path", "./usr/lib/ä".as_bytes()),
            ("size", b"12"),
            ("uid", b"3000000"),
            ("SCHILY.xattr.security.capability", capability),
        ]);
        let pax = parse(&bytes).unwrap();
        assert_eq!(pax.path.as_deref(), Some("./usr/lib/ä".as_bytes()));
        assert_eq!(
            (pax.size, pax.uid, pax.gid),
            (Some(12), Some(3_000_000), None)
        );
        assert_eq!(
            pax.xattrs.get(b"security.capability".as_slice()).unwrap(),
            capability
        );
    }

    #[test]
    fn malformed_records_are_refused() {
        let sparse = pax_records(&[("GNU.sparse.major", b"1")]);
        let number = pax_records(&[("size", b"-1")]);
        let name = pax_records(&[("SCHILY.xattr.", b"x")]);
        for bytes in [
            &b"x"[..],
            b"12 path=abc",
            b"99 path=abc\n",
            b"3 a\n",
            b"0 ",
            b"99999999999999999999 a=b\n",
            &sparse,
            &number,
            &name,
        ] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
