//! What several rules read, read once.

use std::sync::OnceLock;

use anyhow::{Result, anyhow};

use super::Subject;
use super::files::Files;
use super::linking::Linking;
use super::modules::Modules;
use super::units::Units;

/// What is read once. Rules run side by side: the first one reads, the others wait.
#[derive(Debug)]
pub(super) struct Once<T>(OnceLock<Result<T, String>>);

impl<T> Default for Once<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> Once<T> {
    /// What `read` gives, or has given; an error is everybody's.
    pub(super) fn get(&self, read: impl FnOnce() -> Result<T>) -> Result<&T> {
        let read = || read().map_err(|error| format!("{error:#}"));
        let read = self.0.get_or_init(read).as_ref();
        read.map_err(|error| anyhow!("{error}"))
    }
}

/// For the first rule that asks to fill.
#[derive(Debug, Default)]
pub struct Shared {
    pub(super) system: Once<Units>,
    pub(super) user: Once<Units>,
    pub(super) files: Once<Files>,
    pub(super) linking: Once<Linking>,
    pub(super) modules: Once<Modules>,
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
