//! Reading everything again.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use rayon::prelude::*;

use super::object::ObjectFile;
use super::room::Item;
use super::{Store, environment, hash_file, object};

/// What reading everything again has come to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// Files that were read.
    pub files: u64,
    /// Files that were damaged, with what is wrong. They are gone.
    pub damaged: Vec<(PathBuf, String)>,
}

impl Store {
    /// Reads every download and object, and removes what is not what it was. Indices are small and
    /// checked whenever they are read.
    ///
    /// # Errors
    /// A folder or file cannot be read, or not be removed.
    pub fn verify_all(&self) -> Result<Verified> {
        let items = self.items()?;
        let checked: Vec<_> = items
            .par_iter()
            .map(|item| Ok((item, check(item)?)))
            .collect::<Result<_>>()?;
        let mut result = Verified::default();
        for (item, state) in checked {
            match state {
                State::Other => continue,
                State::Good => {}
                State::Damaged(problem) => {
                    match fs::remove_file(&item.path) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => {
                            return Err(environment("removing", &item.path, &error).into());
                        }
                        _ => {}
                    }
                    result.damaged.push((item.path.clone(), problem));
                }
            }
            result.files += 1;
        }
        Ok(result)
    }
}

pub(super) enum State {
    Good,
    Damaged(String),
    /// Nothing that can be checked, or no longer there.
    Other,
}

pub(super) fn check(item: &Item) -> Result<State> {
    let name = item.path.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default();
    match item.folder {
        "downloads" => match hash_file(&item.path) {
            Ok(found) if found.to_string() == name => Ok(State::Good),
            Ok(found) => Ok(State::Damaged(format!("its SHA-256 is {found}"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::Other),
            Err(error) => Err(environment("reading", &item.path, &error).into()),
        },
        "objects" | "derived" => match File::open(&item.path) {
            Ok(file) => Ok(match check_object(file, &item.path, name) {
                Ok(()) => State::Good,
                Err(problem) => State::Damaged(problem),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::Other),
            Err(error) => Err(environment("reading", &item.path, &error).into()),
        },
        _ => Ok(State::Other),
    }
}

/// Reads all of an object whose file is to be named `name`; says what is wrong with it.
pub(super) fn check_object(file: File, path: &Path, name: &str) -> Result<(), String> {
    let (hex, kind) = name.split_once('.').unwrap_or((name, super::PACKAGE));
    let key = blake3::Hash::from_hex(hex).map_err(|_| "its name is no key".to_owned())?;
    let damage = Arc::default();
    let result: Result<(), object::DamagedObject> =
        ObjectFile::open(Arc::new(file), path, "an object", (kind, &key), &damage)
            .and_then(|(object, _)| object.check());
    result.map_err(|damaged| damaged.problem)
}
