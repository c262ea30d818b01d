//! Reader of the ar container of `.deb` files (deb(5), "FORMAT"), strict and without copies.
//!
//! A `.deb` is an ar archive of exactly three members in this order: `debian-binary` with the
//! format version, `control.tar…` and `data.tar…`. Members whose name begins with `_` may stand
//! after `debian-binary` and are skipped. Debian uses neither the GNU nor the BSD form of long
//! names, so that both are errors here.

use super::decompress::Codec;

/// First bytes of every ar archive.
pub const MAGIC: &[u8; 8] = b"!<arch>\n";
/// Bytes of a member header.
pub const HEADER_LEN: usize = 60;
/// Last two bytes of a member header.
const HEADER_END: &[u8; 2] = b"`\n";

/// What is wrong with the container.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArError {
    /// The first bytes are something else.
    #[error("not a .deb: it does not begin with the ar signature `!<arch>`")]
    Magic,
    /// The file ends inside a header or a member.
    #[error("cut off at byte {offset}: {what} needs {needed} more bytes")]
    Truncated {
        /// Where in the file.
        offset: usize,
        /// Header, or name of the member.
        what: String,
        /// Bytes that are missing.
        needed: usize,
    },
    /// A header that breaks the rules.
    #[error("bad ar header at byte {offset}: {what}")]
    Header {
        /// Where in the file.
        offset: usize,
        /// What is wrong.
        what: String,
    },
    /// A member that must be there is not.
    #[error("member `{wanted}` expected, found {found}")]
    Member {
        /// Which one.
        wanted: &'static str,
        /// What stands there.
        found: String,
    },
    /// A format version other than 2.x.
    #[error("format version {0:?} in `debian-binary`; only 2.x is known")]
    Version(String),
    /// A tar compressed with something else.
    #[error("`{0}` is compressed in a way that is not supported; expected .xz, .zst, .gz or none")]
    Codec(String),
}

/// One member, borrowed from the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a> {
    /// Name without padding and without the trailing slash of the System V form.
    pub name: &'a [u8],
    /// Where `data` begins in the file.
    pub offset: usize,
    /// Content.
    pub data: &'a [u8],
}

/// A compressed tar inside the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tarball<'a> {
    /// From the extension of the member's name.
    pub codec: Codec,
    /// Where `data` begins in the file.
    pub offset: usize,
    /// Content.
    pub data: &'a [u8],
}

/// The two archives of a `.deb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deb<'a> {
    /// `control.tar…`.
    pub control: Tarball<'a>,
    /// `data.tar…`.
    pub data: Tarball<'a>,
}

/// Walks the members of an ar archive.
#[derive(Debug)]
pub struct Members<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Members<'a> {
    /// Begins after the signature.
    ///
    /// # Errors
    /// [`ArError::Magic`].
    pub fn new(bytes: &'a [u8]) -> Result<Self, ArError> {
        if !bytes.starts_with(MAGIC) {
            return Err(ArError::Magic);
        }
        Ok(Self {
            bytes,
            at: MAGIC.len(),
        })
    }

    fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8], ArError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let taken = rest.get(..len).ok_or_else(|| ArError::Truncated {
            offset: self.at,
            what: what.into(),
            needed: len.saturating_sub(rest.len()),
        })?;
        self.at = self.at.saturating_add(len);
        Ok(taken)
    }

    /// The next member; `None` at the end of the file.
    ///
    /// # Errors
    /// See [`ArError`].
    pub fn next_member(&mut self) -> Result<Option<Member<'a>>, ArError> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let start = self.at;
        let header = self.take(HEADER_LEN, "a member header")?;
        let bad = |what: String| ArError::Header {
            offset: start,
            what,
        };
        // ar(5): name 16, mtime 12, uid 6, gid 6, mode 8, size 10, end 2.
        let (Some(name), Some(size), Some(end)) =
            (header.get(..16), header.get(48..58), header.get(58..60))
        else {
            return Err(bad("too short".into()));
        };
        if end != HEADER_END {
            return Err(bad("it does not end in a backtick and a newline".into()));
        }
        let name = name.trim_ascii_end();
        let name = name.strip_suffix(b"/").unwrap_or(name);
        let shown = String::from_utf8_lossy(name).into_owned();
        if name.is_empty() || name.contains(&b'/') || name.contains(&0) {
            return Err(bad(format!("`{shown}` is not a plain member name")));
        }
        let digits = size.trim_ascii_end();
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            let text = String::from_utf8_lossy(size);
            return Err(bad(format!("the size {text:?} is not a decimal number")));
        }
        // At most ten digits: a u64 holds them.
        let size = digits
            .iter()
            .fold(0_u64, |n, d| n * 10 + u64::from(d - b'0'));
        let size = usize::try_from(size).map_err(|_| bad(format!("size {size} is too large")))?;
        let offset = self.at;
        let data = self.take(size, &shown)?;
        // Members begin at even offsets; the padding after the last one may be missing.
        if size % 2 == 1 && self.at < self.bytes.len() && self.take(1, "padding")? != b"\n" {
            return Err(bad(format!("`{shown}` is not padded with a newline")));
        }
        Ok(Some(Member { name, offset, data }))
    }

    /// The next member that a reader must not skip (deb(5): names that begin with `_` may be).
    fn next_wanted(&mut self, wanted: &'static str) -> Result<Member<'a>, ArError> {
        loop {
            match self.next_member()? {
                Some(member) if member.name.starts_with(b"_") => {}
                Some(member) => return Ok(member),
                None => {
                    return Err(ArError::Member {
                        wanted,
                        found: "the end of the file".into(),
                    });
                }
            }
        }
    }

    fn next_tarball(&mut self, wanted: &'static str) -> Result<Tarball<'a>, ArError> {
        let member = self.next_wanted(wanted)?;
        let name = String::from_utf8_lossy(member.name).into_owned();
        let Some(extension) = member.name.strip_prefix(wanted.as_bytes()) else {
            return Err(ArError::Member {
                wanted,
                found: format!("`{name}`"),
            });
        };
        let codec = Codec::from_extension(extension).ok_or(ArError::Codec(name))?;
        Ok(Tarball {
            codec,
            offset: member.offset,
            data: member.data,
        })
    }
}

/// Takes a `.deb` apart.
///
/// # Errors
/// See [`ArError`].
pub fn parse(bytes: &[u8]) -> Result<Deb<'_>, ArError> {
    let mut members = Members::new(bytes)?;
    let first = members.next_member()?.ok_or_else(|| ArError::Member {
        wanted: "debian-binary",
        found: "the end of the file".into(),
    })?;
    if first.name != b"debian-binary" {
        return Err(ArError::Member {
            wanted: "debian-binary",
            found: format!("`{}`", String::from_utf8_lossy(first.name)),
        });
    }
    // deb(5): further minor versions and further lines may follow and are to be ignored.
    let line = first.data.split(|&b| b == b'\n').next().unwrap_or_default();
    let minor = line.strip_prefix(b"2.").unwrap_or_default();
    if minor.is_empty() || !minor.iter().all(u8::is_ascii_digit) {
        let shown = line.get(..line.len().min(20)).unwrap_or_default();
        return Err(ArError::Version(
            String::from_utf8_lossy(shown).into_owned(),
        ));
    }
    let control = members.next_tarball("control.tar")?;
    let data = members.next_tarball("data.tar")?;
    // deb(5) lets future versions add members after data.tar; only their frames are checked.
    while members.next_member()?.is_some() {}
    Ok(Deb { control, data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::testing::ar;

    fn members<'a>(list: &[(&'a str, &'a [u8])]) -> Vec<u8> {
        ar(list)
    }

    #[test]
    fn the_two_archives_are_found_and_private_members_are_skipped() {
        let bytes = members(&[
            ("debian-binary", b"2.0\n"),
            ("_gpgorigin", b"odd"),
            ("control.tar.zst", b"control"),
            ("_x", b""),
            ("data.tar", b"data!"),
            ("_gpg", b"x"),
        ]);
        let deb = parse(&bytes).unwrap();
        assert_eq!(deb.control.codec, Codec::Zstd);
        assert_eq!(deb.control.data, b"control");
        assert_eq!(deb.data.codec, Codec::None);
        assert_eq!(deb.data.data, b"data!");
        assert_eq!(
            bytes.get(deb.data.offset..deb.data.offset + 5),
            Some(&b"data!"[..])
        );
    }

    #[test]
    fn what_breaks_the_rules_is_refused_with_the_reason() {
        let two = ("debian-binary", b"2.0\n".as_slice());
        let control = ("control.tar.xz", b"c".as_slice());
        let data = ("data.tar.xz", b"d".as_slice());
        for (list, wanted) in [
            (vec![], "found the end"),
            (vec![control, two, data], "`debian-binary` expected"),
            (vec![("debian-binary", b"3.0\n".as_slice())], "only 2.x"),
            (vec![("debian-binary", b"2.x\n".as_slice())], "only 2.x"),
            (vec![two, data, control], "`control.tar` expected"),
            (vec![two, control], "`data.tar` expected"),
            (
                vec![two, ("control.tar.lz", b"".as_slice()), data],
                "not supported",
            ),
        ] {
            let error = parse(&members(&list)).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
        assert_eq!(parse(b"PK\x03\x04"), Err(ArError::Magic));
    }

    #[test]
    fn every_cut_is_an_error_or_at_a_member_boundary() {
        let bytes = members(&[
            ("debian-binary", b"2.0\n"),
            ("control.tar", b"abc"),
            ("data.tar", b"defg"),
        ]);
        assert!(parse(&bytes).is_ok());
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).is_err(), "{len}");
        }
    }
}
