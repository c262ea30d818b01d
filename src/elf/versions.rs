//! Versions of symbols: what a file wants of which library, and what a library offers.
//!
//! The linker sets both down (<https://refspecs.linuxbase.org/LSB_5.0.0/LSB-Core-generic/LSB-Core-generic/symversion.html>),
//! and ld.so compares them when a library is loaded, before any symbol is looked up.

use anyhow::{Result, anyhow};
use object::elf::{VER_FLG_BASE, VER_FLG_WEAK};
use serde::{Deserialize, Serialize};

/// A version that a file wants of a library.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Wanted {
    /// The library, as in [`needed`](super::Elf::needed).
    pub library: String,
    /// The version, such as `GLIBC_2.38`.
    pub version: String,
    /// Whether ld.so does without.
    pub weak: bool,
}

/// `Elfxx_Verneed` and its `Elfxx_Vernaux`, and `Elfxx_Verdef`, are of this size.
const NEED: usize = 16;
const NEED_VERSION: usize = 16;
const DEFINITION: usize = 20;

/// Reads the table of wanted versions, which begins with `data` and has `count` libraries.
pub(super) fn wanted(
    data: &[u8],
    count: u64,
    string: &dyn Fn(u32) -> Result<String>,
) -> Result<Vec<Wanted>> {
    let mut out = Vec::new();
    let mut rest = data;
    for _ in 0..most(data, count, NEED)? {
        let versions = half(rest, 2)?;
        let library = string(word(rest, 4)?)?;
        let mut version = step(rest, word(rest, 8)?)?;
        for _ in 0..most(version, versions.into(), NEED_VERSION)? {
            out.push(Wanted {
                library: library.clone(),
                version: string(word(version, 8)?)?,
                weak: half(version, 4)? & VER_FLG_WEAK != 0,
            });
            match word(version, 12)? {
                0 => break,
                next => version = step(version, next)?,
            }
        }
        match word(rest, 12)? {
            0 => break,
            next => rest = step(rest, next)?,
        }
    }
    Ok(out)
}

/// Reads the table of offered versions. The first one is the library itself.
pub(super) fn offered(
    data: &[u8],
    count: u64,
    string: &dyn Fn(u32) -> Result<String>,
) -> Result<Vec<String>> {
    let mut out = Vec::new();
    let mut rest = data;
    for _ in 0..most(data, count, DEFINITION)? {
        // Of several names the first is the version's own, the others those of its parents.
        let names = step(rest, word(rest, 12)?)?;
        if half(rest, 2)? & VER_FLG_BASE == 0 {
            out.push(string(word(names, 0)?)?);
        }
        match word(rest, 16)? {
            0 => break,
            next => rest = step(rest, next)?,
        }
    }
    Ok(out)
}

/// A table has no more entries than fit into it: what claims more leads in a circle.
fn most(data: &[u8], count: u64, size: usize) -> Result<u64> {
    if count > (data.len() / size) as u64 {
        return Err(anyhow!("a table of versions ends too early"));
    }
    Ok(count)
}

fn step(data: &[u8], by: u32) -> Result<&[u8]> {
    let rest = data.get(usize::try_from(by)?..);
    rest.ok_or_else(|| anyhow!("a table of versions leads out of the file"))
}

fn word(data: &[u8], at: usize) -> Result<u32> {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk());
    let bytes = bytes.ok_or_else(|| anyhow!("a table of versions ends too early"))?;
    Ok(u32::from_le_bytes(*bytes))
}

fn half(data: &[u8], at: usize) -> Result<u16> {
    let bytes = data.get(at..).and_then(|rest| rest.first_chunk());
    let bytes = bytes.ok_or_else(|| anyhow!("a table of versions ends too early"))?;
    Ok(u16::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 4] = ["libc.so.6", "GLIBC_2.34", "GLIBC_2.2.5", "libx.so"];

    fn string(at: u32) -> Result<String> {
        let name = NAMES.get(at as usize);
        Ok((*name.ok_or_else(|| anyhow!("no such string"))?).to_owned())
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    #[test]
    fn versions_are_those_of_their_library() {
        let table = words(&[
            // Version 1 and two entries; library; where these begin; the end.
            1 | 2 << 16,
            0,
            16,
            0, //
            // Hash; flags; name; how far the next one is.
            0,
            0,
            1,
            16, //
            0,
            VER_FLG_WEAK.into(),
            2,
            0,
        ]);
        let found = wanted(&table, 1, &string).unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|w| (w.library.as_str(), w.version.as_str(), w.weak))
            .collect();
        assert_eq!(
            shown,
            [
                ("libc.so.6", "GLIBC_2.34", false),
                ("libc.so.6", "GLIBC_2.2.5", true)
            ]
        );
        wanted(&table[..44], 1, &string).unwrap_err();
        wanted(&table, 1 << 40, &string).unwrap_err();
    }

    #[test]
    fn a_library_is_no_version_of_itself() {
        let entry =
            |flags: u32, next: u32, name: u32| [1 | flags << 16, 1 << 16, 0, 20, next, name, 0];
        let table = words(&[entry(1, 28, 3), entry(0, 0, 1)].concat());
        assert_eq!(offered(&table, 2, &string).unwrap(), ["GLIBC_2.34"]);
    }
}
