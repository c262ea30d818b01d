//! The partitions of the disk image, which nodes keep for good.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::disk::{GptTable, Role};

/// A partition of the disk image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// What it is for (`esp`, `usr-a`, …).
    pub role: String,
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// The size of the disk image at `path`, and its partition table.
///
/// # Errors
/// It can't be read, or its table is damaged.
pub fn table(path: &Path) -> Result<(u64, GptTable)> {
    let context = || format!("reading the partition table of {}", path.display());
    let file = File::open(path).with_context(context)?;
    let size = file.metadata().with_context(context)?.len();
    let table = GptTable::read(&mut BufReader::new(file)).with_context(context)?;
    Ok((size, table))
}

/// The size of the disk image at `path`, and its partitions in the order of the table.
///
/// # Errors
/// As [`table`].
pub fn read(path: &Path) -> Result<(u64, Vec<Partition>)> {
    let (size, table) = table(path)?;
    let partitions = table
        .partitions
        .iter()
        .zip(Role::ALL)
        .map(|((_, entry), role)| Partition {
            role: role.name().into(),
            offset: entry.offset(),
            size: entry.len(),
        })
        .collect();
    Ok((size, partitions))
}
