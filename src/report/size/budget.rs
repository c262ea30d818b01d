//! A limit for the size of an image.
//!
//! What counts is the file of the UKI, signed or with the place for its signature, and `usr.erofs`:
//! what a node downloads for an update but for the hash tree, and without what partitions have beyond
//! their content.

use anyhow::Result;

use super::{Lines, Sizes, savings};
use crate::failure::{Failure, Kind};
use crate::profile::Loaded;
use crate::resolve::Lock;

/// Fails where the image exceeds `limit`, or without one the budget of the profile.
///
/// # Errors
/// Kind [`Kind::DoesNotFit`], with the largest savings that can be seen.
pub fn check(loaded: &Loaded, lock: &Lock, sizes: &Sizes, limit: Option<u64>) -> Result<()> {
    let own = loaded.profile.limit();
    let counted = sizes.counted();
    let Some(budget) = limit.or(own).filter(|budget| counted > *budget) else {
        return Ok(());
    };
    let place = match loaded.line_of_budget() {
        Some(line) if limit.is_none() => format!(" ({})", line.place),
        _ => String::new(),
    };
    let failure = Failure::new(
        Kind::DoesNotFit,
        format!(
            "usr.erofs ({}) and {} ({}) have {} together, {} more than the budget of {}{place}",
            decimal(sizes.usr),
            sizes.uki_name,
            decimal(sizes.uki_bytes()),
            decimal(counted),
            decimal(counted - budget),
            decimal(budget)
        ),
    );
    let lines = Lines::of(loaded, lock);
    let savings = savings::largest(sizes, &lines, &loaded.profile);
    let hint = |failure: Failure, saving: &savings::Saving| failure.hint(saving.to_string());
    Err(savings.iter().fold(failure, hint).into())
}

/// Bytes in powers of 1000, as sizes of images are advertised, to a tenth of a megabyte, and exact
/// where that says too little.
#[must_use]
pub fn decimal(bytes: u64) -> String {
    if bytes < 100_000 {
        return format!("{bytes} bytes");
    }
    // Rounded up: a budget that is exceeded is never shown as kept.
    let tenths = bytes.div_ceil(100_000);
    format!("{}.{} MB", tenths / 10, tenths % 10)
}
