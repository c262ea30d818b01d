//! What an ELF file needs at run time, and what it offers: interpreter, shared libraries, versions of
//! their symbols, and libraries that it opens by itself, as far as it says so.
//!
//! It is read as the dynamic linker reads it: by segments and the dynamic section, which no tool may
//! strip, and not by sections.

mod search;
mod versions;

pub use search::{directories, last_directories};
pub use versions::Wanted;

use anyhow::{Context, Result, anyhow};
use object::LittleEndian as Le;
use object::elf::{
    DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB, DT_VERDEF, DT_VERDEFNUM,
    DT_VERNEED, DT_VERNEEDNUM, ELFCLASS64, ELFDATA2LSB, FileHeader64, PT_LOAD,
};
use object::read::StringTable;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use serde::{Deserialize, Serialize};

/// Owner of the notes of <https://uapi-group.org/specifications/specs/elf_dlopen_metadata/>.
const DLOPEN_OWNER: &[u8] = b"FDO";
/// Their type.
const DLOPEN_TYPE: u32 = 0x407c_0c0a;

/// What one ELF file needs and offers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Elf {
    /// `e_machine`.
    pub machine: u16,
    /// The program interpreter, as written.
    pub interpreter: Option<String>,
    /// Its own name as a library.
    pub soname: Option<String>,
    /// Libraries that the linker loads before the program runs.
    pub needed: Vec<String>,
    /// `DT_RPATH`: where it and what it loads look first; `$ORIGIN` not yet replaced. Empty where
    /// there is a `DT_RUNPATH`, which makes ld.so ignore it.
    pub rpath: Vec<String>,
    /// `DT_RUNPATH`: where it alone looks.
    pub runpath: Vec<String>,
    /// Versions of symbols that it takes from libraries (`.gnu.version_r`).
    pub wants: Vec<Wanted>,
    /// Versions of symbols that it offers (`.gnu.version_d`).
    pub offers: Vec<String>,
    /// Libraries that it may open itself.
    pub dlopen: Vec<Dlopen>,
}

/// One entry of a `.note.dlopen`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dlopen {
    /// What it is for, in a word.
    #[serde(default)]
    pub feature: String,
    /// What it is for, in a sentence.
    #[serde(default)]
    pub description: String,
    /// How much the program depends on it.
    #[serde(default)]
    pub priority: Priority,
    /// Names of the library, the best first; any one of them will do.
    pub soname: Vec<String>,
}

/// How much a program depends on a library that it opens by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// It does not work without.
    Required,
    /// Absent only in special cases.
    #[default]
    Recommended,
    /// For a feature that few need.
    Suggested,
}

/// What every ELF file says in its first bytes, whatever machine it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Whether it is a 64-bit file.
    pub is_64_bit: bool,
    /// Whether numbers in it are little-endian.
    pub is_little_endian: bool,
    /// `e_machine`.
    pub machine: u16,
}

impl Identity {
    /// Of a file that begins with `bytes`; `None` where that is no ELF file.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; 20] = bytes.first_chunk()?;
        let is_little_endian = bytes[5] == ELFDATA2LSB;
        let machine = [bytes[18], bytes[19]];
        bytes.starts_with(b"\x7fELF").then(|| Self {
            is_64_bit: bytes[4] == ELFCLASS64,
            is_little_endian,
            machine: match is_little_endian {
                true => u16::from_le_bytes(machine),
                false => u16::from_be_bytes(machine),
            },
        })
    }
}

/// Reads an ELF file; `None` where the bytes do not begin as one.
///
/// # Errors
/// A file that is not 64-bit little-endian, or whose tables lie outside of it.
pub fn parse(bytes: &[u8]) -> Result<Option<Elf>> {
    if !bytes.starts_with(b"\x7fELF") {
        return Ok(None);
    }
    let header = FileHeader64::<Le>::parse(bytes).context("reading the ELF header")?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, bytes)?;
    let mut elf = Elf {
        machine: header.e_machine(endian),
        ..Elf::default()
    };
    for segment in segments {
        if let Some(path) = segment.interpreter(endian, bytes)? {
            elf.interpreter = Some(text(path)?);
        }
        if let Some(table) = segment.dynamic(endian, bytes)? {
            read_dynamic(&mut elf, bytes, segments, table)?;
        }
        let Some(mut notes) = segment.notes(endian, bytes)? else {
            continue;
        };
        while let Some(note) = notes.next()? {
            if note.name() == DLOPEN_OWNER && note.n_type(endian) == DLOPEN_TYPE {
                elf.dlopen.extend(dlopen_entries(note.desc())?);
            }
        }
    }
    Ok(Some(elf))
}

fn read_dynamic(
    elf: &mut Elf,
    bytes: &[u8],
    segments: &[object::elf::ProgramHeader64<Le>],
    table: &[object::elf::Dyn64<Le>],
) -> Result<()> {
    let endian = Le;
    let entries = || {
        table
            .iter()
            .map(|entry| (entry.d_tag(endian), entry.d_val(endian)))
            .take_while(|(tag, _)| *tag != 0)
    };
    let value = |wanted: i64| {
        let found = entries().find(|(tag, _)| *tag == wanted);
        found.map(|(_, value)| value)
    };
    // What is loaded from `address` on.
    let loaded = |address: u64| -> Result<&[u8]> {
        let loads = segments.iter().filter(|s| s.p_type(endian) == PT_LOAD);
        for segment in loads {
            let data = segment
                .data(endian, bytes)
                .map_err(|()| anyhow!("a segment lies outside of the file"))?;
            let offset = address.checked_sub(segment.p_vaddr(endian));
            let offset = offset.and_then(|offset| usize::try_from(offset).ok());
            if let Some(found) = offset.and_then(|offset| data.get(offset..)) {
                return Ok(found);
            }
        }
        Err(anyhow!("the dynamic section leads out of the file"))
    };
    let (Some(address), Some(size)) = (value(DT_STRTAB), value(DT_STRSZ)) else {
        return Ok(());
    };
    let strings = usize::try_from(size).ok();
    let strings = strings.and_then(|size| loaded(address).ok()?.get(..size));
    let strings = strings.ok_or_else(|| anyhow!("the dynamic strings lie outside of the file"))?;
    let strings = StringTable::new(strings, 0, strings.len() as u64);
    let string = |offset: u32| -> Result<String> {
        let bytes = strings.get(offset);
        text(bytes.map_err(|()| anyhow!("a dynamic string lies outside of its table"))?)
    };
    let mut rpath = None;
    for (tag, value) in entries() {
        let string = || string(u32::try_from(value).context("reading a string's offset")?);
        match tag {
            DT_NEEDED => elf.needed.push(string()?),
            DT_SONAME => elf.soname = Some(string()?),
            DT_RPATH => rpath = Some(string()?),
            DT_RUNPATH => elf.runpath = directory_list(&string()?),
            _ => {}
        }
    }
    if let Some(path) = rpath.filter(|_| value(DT_RUNPATH).is_none()) {
        elf.rpath = directory_list(&path);
    }
    if let (Some(address), Some(count)) = (value(DT_VERNEED), value(DT_VERNEEDNUM)) {
        elf.wants = versions::wanted(loaded(address)?, count, &string)?;
    }
    if let (Some(address), Some(count)) = (value(DT_VERDEF), value(DT_VERDEFNUM)) {
        elf.offers = versions::offered(loaded(address)?, count, &string)?;
    }
    Ok(())
}

/// An empty part would be the working directory, which is nobody's place for libraries.
fn directory_list(path: &str) -> Vec<String> {
    let parts = path.split(':').filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// The entries of one note: a JSON array, padded with NULs.
fn dlopen_entries(desc: &[u8]) -> Result<Vec<Dlopen>> {
    let end = desc.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
    serde_json::from_slice(&desc[..end]).context("reading .note.dlopen")
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| anyhow!("the name `{}` is not UTF-8", bytes.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An ELF file with an interpreter and one note, as small as it can be.
    fn sample(note_name: &[u8], note_type: u32, desc: &[u8]) -> Vec<u8> {
        let mut note = Vec::new();
        note.extend_from_slice(&u32::try_from(note_name.len() + 1).unwrap().to_le_bytes());
        note.extend_from_slice(&u32::try_from(desc.len()).unwrap().to_le_bytes());
        note.extend_from_slice(&note_type.to_le_bytes());
        note.extend_from_slice(note_name);
        note.push(0);
        note.resize(note.len().next_multiple_of(4), 0);
        note.extend_from_slice(desc);
        note.resize(note.len().next_multiple_of(4), 0);
        let interpreter = b"/lib/ld.so\0";
        let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        out.extend_from_slice(&3u16.to_le_bytes());
        out.extend_from_slice(&62u16.to_le_bytes());
        out.extend_from_slice(&1u32.to_le_bytes());
        for word in [0u64, 64, 0] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&0u32.to_le_bytes());
        for half in [64u16, 56, 2, 64, 0, 0] {
            out.extend_from_slice(&half.to_le_bytes());
        }
        let mut at = 64 + 2 * 56u64;
        for (kind, len) in [(3u32, interpreter.len() as u64), (4, note.len() as u64)] {
            out.extend_from_slice(&kind.to_le_bytes());
            out.extend_from_slice(&4u32.to_le_bytes());
            for word in [at, at, at, len, len, 4] {
                out.extend_from_slice(&word.to_le_bytes());
            }
            at += len;
        }
        out.extend_from_slice(interpreter);
        out.extend_from_slice(&note);
        out
    }

    #[test]
    fn notes_say_what_is_opened_later() {
        let json = br#"[{"feature":"kmod","description":"Load modules","priority":"required",
            "soname":["libkmod.so.2"]},{"soname":["a.so.1","a.so.0"]}]"#;
        let elf = parse(&sample(b"FDO", DLOPEN_TYPE, json)).unwrap().unwrap();
        assert_eq!(elf.interpreter.as_deref(), Some("/lib/ld.so"));
        assert_eq!(elf.machine, 62);
        let shown: Vec<_> = elf
            .dlopen
            .iter()
            .map(|d| (d.feature.as_str(), d.priority, d.soname.join(",")))
            .collect();
        assert_eq!(
            shown,
            [
                ("kmod", Priority::Required, "libkmod.so.2".to_owned()),
                ("", Priority::Recommended, "a.so.1,a.so.0".to_owned()),
            ]
        );
    }

    #[test]
    fn notes_of_others_are_left_alone_and_broken_ones_are_errors() {
        for (name, kind) in [(&b"GNU"[..], DLOPEN_TYPE), (b"FDO", 1)] {
            let elf = parse(&sample(name, kind, b"not json")).unwrap().unwrap();
            assert_eq!(elf.dlopen, []);
        }
        assert!(parse(&sample(b"FDO", DLOPEN_TYPE, b"not json")).is_err());
    }

    #[test]
    fn other_files_are_no_elf_files() {
        assert_eq!(parse(b"#!/bin/sh\n").unwrap(), None);
        assert_eq!(parse(b"").unwrap(), None);
        assert!(parse(b"\x7fELF\x01\x01\x01").is_err());
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(
            flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..10),
            cut in any::<proptest::sample::Index>(),
        ) {
            let mut bytes = sample(b"FDO", DLOPEN_TYPE, br#"[{"soname":["x"]}]"#);
            for (at, byte) in flips {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(cut.index(bytes.len() + 1));
            let _ = parse(&bytes);
        }
    }
}
