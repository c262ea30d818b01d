//! What several rules read, read once.

use std::sync::OnceLock;

use super::files::Files;
use super::linking::Linking;
use super::units::Units;

/// For the first rule that asks to fill.
#[derive(Debug, Default)]
pub struct Shared {
    pub(super) system: OnceLock<Result<Units, String>>,
    pub(super) user: OnceLock<Result<Units, String>>,
    pub(super) files: OnceLock<Result<Files, String>>,
    pub(super) linking: OnceLock<Result<Linking, String>>,
}
