//! Reads an archive.

use super::format::{FIELDS, HEADER, Header, MAGIC, NAME_MAX, TRAILER};

/// Why bytes are not an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CpioError {
    /// No entry starts here.
    #[error("byte {0} of the cpio archive should start an entry, but does not")]
    Magic(usize),
    /// A field is not eight hexadecimal digits.
    #[error("the entry at byte {0} of the cpio archive has a field that is not a number")]
    Field(usize),
    /// The name is empty, too long, or does not end in a NUL.
    #[error("the entry at byte {0} of the cpio archive has no proper name")]
    Name(usize),
    /// The archive ends inside of an entry, or without a trailer.
    #[error("the cpio archive ends at byte {0}, inside of an entry or before its trailer")]
    Truncated(usize),
}

/// One entry of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name, as written.
    pub name: &'a [u8],
    /// Its numbers.
    pub header: Header,
    /// Content of a file, or target of a symbolic link.
    pub data: &'a [u8],
}

/// The entries of the archive at the start of `bytes`, and how many bytes it takes.
///
/// # Errors
/// See [`CpioError`].
pub fn archive(bytes: &[u8]) -> Result<(Vec<Entry<'_>>, usize), CpioError> {
    let mut entries = Vec::new();
    let mut at = 0;
    loop {
        let (entry, end) = entry(bytes, at)?;
        at = end;
        if entry.name == TRAILER.as_bytes() {
            return Ok((entries, at.min(bytes.len())));
        }
        entries.push(entry);
    }
}

fn entry(bytes: &[u8], start: usize) -> Result<(Entry<'_>, usize), CpioError> {
    let truncated = CpioError::Truncated(bytes.len());
    let slice = |from: usize, len: usize| {
        let end = from.checked_add(len).ok_or(truncated.clone())?;
        bytes.get(from..end).ok_or(truncated.clone())
    };
    let head = slice(start, HEADER)?;
    let digits = head.strip_prefix(MAGIC).ok_or(CpioError::Magic(start))?;
    let mut fields = [0; FIELDS];
    for (field, digits) in fields.iter_mut().zip(digits.chunks_exact(8)) {
        *field = number(digits).ok_or(CpioError::Field(start))?;
    }
    let header = Header::from_fields(fields);
    let name_len = header.name_len as usize;
    if name_len == 0 || name_len > NAME_MAX {
        return Err(CpioError::Name(start));
    }
    let name = slice(start + HEADER, name_len)?
        .strip_suffix(b"\0")
        .filter(|name| !name.is_empty() && !name.contains(&0))
        .ok_or(CpioError::Name(start))?;
    let data_at = (start + HEADER + name_len).next_multiple_of(4);
    let data = slice(data_at, header.size as usize)?;
    let end = (data_at + data.len()).next_multiple_of(4);
    Ok((Entry { name, header, data }, end))
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |sum, &digit| {
        Some((sum << 4) | char::from(digit).to_digit(16)?)
    })
}
