//! Reads the names of the boot entries from the ESP of a disk that a guest is writing to.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// A read-only window of a file, as the FAT crate wants it.
struct Window {
    file: File,
    begin: u64,
    len: u64,
    at: u64,
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.len.saturating_sub(self.at);
        let part = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        let n = self
            .file
            .read_at(&mut buffer[..part], self.begin + self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Write for Window {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// File names in `EFI/Linux`, sorted. The ESP lies at `begin`, `len` bytes long.
///
/// # Errors
/// The file system is not readable, which may be so for a moment while the guest writes.
pub fn boot_entries(disk: &Path, begin: u64, len: u64) -> Result<Vec<String>> {
    let file = File::open(disk).with_context(|| format!("opening {}", disk.display()))?;
    let window = Window {
        file,
        begin,
        len,
        at: 0,
    };
    let fs = fatfs::FileSystem::new(window, fatfs::FsOptions::new())
        .context("reading the ESP of the running guest")?;
    let dir = fs
        .root_dir()
        .open_dir("EFI/Linux")
        .context("opening EFI/Linux")?;
    let mut names = Vec::new();
    for entry in dir.iter() {
        let name = entry.context("reading EFI/Linux")?.file_name();
        if name.to_ascii_lowercase().ends_with(".efi") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
