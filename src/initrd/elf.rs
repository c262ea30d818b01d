//! What an ELF file needs at run time: interpreter, shared libraries, and libraries that it opens
//! by itself, as far as it says so.

use anyhow::{Context, Result, anyhow};
use object::LittleEndian as Le;
use object::elf::{
    DT_NEEDED, DT_RPATH, DT_RUNPATH, DT_SONAME, DT_STRSZ, DT_STRTAB, FileHeader64, PT_LOAD,
};
use object::read::StringTable;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use serde::{Deserialize, Serialize};

/// Owner of the notes of <https://uapi-group.org/specifications/specs/elf_dlopen_metadata/>.
const DLOPEN_OWNER: &[u8] = b"FDO";
/// Their type.
const DLOPEN_TYPE: u32 = 0x407c_0c0a;

/// What one ELF file needs.
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
    /// Where it looks for them first, in order; `$ORIGIN` not yet replaced.
    pub search: Vec<String>,
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
    let value = |wanted: i64| entries().find(|(tag, _)| *tag == wanted);
    let (Some((_, address)), Some((_, size))) = (value(DT_STRTAB), value(DT_STRSZ)) else {
        return Ok(());
    };
    let mut strings = None;
    for segment in segments.iter().filter(|s| s.p_type(endian) == PT_LOAD) {
        if let Ok(Some(found)) = segment.data_range(endian, bytes, address, size) {
            strings = Some(found);
        }
    }
    let strings = strings.ok_or_else(|| anyhow!("the dynamic strings lie outside of the file"))?;
    let strings = StringTable::new(strings, 0, strings.len() as u64);
    let mut rpath = None;
    let mut runpath = None;
    for (tag, value) in entries() {
        let string = || -> Result<String> {
            let offset = u32::try_from(value).context("reading a string's offset")?;
            let bytes = strings.get(offset);
            text(bytes.map_err(|()| anyhow!("a dynamic string lies outside of its table"))?)
        };
        match tag {
            DT_NEEDED => elf.needed.push(string()?),
            DT_SONAME => elf.soname = Some(string()?),
            DT_RPATH => rpath = Some(string()?),
            DT_RUNPATH => runpath = Some(string()?),
            _ => {}
        }
    }
    // ld.so ignores DT_RPATH where there is a DT_RUNPATH.
    if let Some(path) = runpath.or(rpath) {
        elf.search = path
            .split(':')
            .filter(|s| !s.is_empty())
            .map(str::to_owned)
            .collect();
    }
    Ok(())
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
