//! What several rules read, read once.

use std::sync::OnceLock;

use anyhow::Result;

use super::Subject;
use super::files::Files;
use super::linking::Linking;
use super::modules::Modules;
use super::units::Units;

/// For the first rule that asks to fill.
#[derive(Debug, Default)]
pub struct Shared {
    pub(super) system: OnceLock<Result<Units, String>>,
    pub(super) user: OnceLock<Result<Units, String>>,
    pub(super) files: OnceLock<Result<Files, String>>,
    pub(super) linking: OnceLock<Result<Linking, String>>,
    pub(super) modules: OnceLock<Result<Modules, String>>,
}

impl Shared {
    /// Reads what takes all threads. A rule that waited for its pool while it fills a place could be
    /// given another rule to run meanwhile, which would wait for that place on the same thread.
    pub(super) fn fill(subject: &Subject<'_>) -> Result<()> {
        Linking::of(subject)?;
        Modules::of(subject)?;
        Ok(())
    }
}
