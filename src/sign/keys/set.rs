//! `set.json`: what a set has to remember besides its keys.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{KeyProfile, SET_FILE, failure};
use crate::stamp::Stamp;

/// Version of the file.
const VERSION: u32 = 1;

/// The memory of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    set: u32,
    /// What it is for.
    pub profile: KeyProfile,
    /// The name in the subjects of its keys.
    pub name: String,
    /// The GUID that marks its entries in signature lists.
    pub owner: Uuid,
    /// The latest time in its signed variables. Firmware takes a variable only if it is newer.
    pub variables: Stamp,
}

impl Set {
    /// A new set.
    pub(super) const fn new(profile: KeyProfile, name: String, owner: Uuid, time: Stamp) -> Self {
        Self {
            set: VERSION,
            profile,
            name,
            owner,
            variables: time,
        }
    }

    /// Reads it from the key folder `dir`.
    ///
    /// # Errors
    /// It is missing, or of another version.
    pub fn read(dir: &Path) -> Result<Self> {
        let path = dir.join(SET_FILE);
        let shown = path.display();
        let text = fs::read(&path).map_err(|error| {
            failure(format!("reading {shown}: {error}")).hint(
                "only a set that `hullwright keys new` made can be rotated, revoked from and checked",
            )
        })?;
        let set: Self = serde_json::from_slice(&text)
            .map_err(|error| failure(format!("{shown} can't be understood: {error}")))?;
        if set.set != VERSION {
            return Err(failure(format!(
                "{shown} is of version {}; expected {VERSION}",
                set.set
            ))
            .into());
        }
        Ok(set)
    }

    /// Its bytes.
    pub(super) fn encode(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self).context("encoding the set")?;
        text.push(b'\n');
        Ok(text)
    }

    /// A time for new variables: now, or later than all before where the clock was set back.
    pub(super) fn next_time(&self, now: Stamp) -> Stamp {
        now.max(Stamp::from_seconds(self.variables.seconds() + 1))
    }
}
