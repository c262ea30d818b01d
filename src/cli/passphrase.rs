//! The passphrase of encrypted keys: from a file, the environment, or the person at the terminal.

use std::cell::OnceCell;
use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use anyhow::Result;
use zeroize::Zeroizing;

use super::environment;
use crate::failure::{Failure, Kind};
use crate::sign;
use crate::sign::failure;

/// Fewer characters are no passphrase.
const SHORTEST: usize = 8;

/// Where the passphrase comes from.
#[derive(Debug, Clone, clap::Args)]
pub struct PassphraseArguments {
    /// File with the passphrase of encrypted keys in its first line [default:
    /// HULLWRIGHT_PASSPHRASE, else asked for].
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

/// A passphrase that is read once, when it is needed.
#[derive(Debug)]
pub struct Passphrase {
    file: Option<PathBuf>,
    known: OnceCell<Zeroizing<String>>,
}

impl PassphraseArguments {
    /// The passphrase that the arguments name; nothing is read yet.
    pub fn get(&self) -> Passphrase {
        Passphrase {
            file: self.passphrase_file.clone(),
            known: OnceCell::new(),
        }
    }
}

impl Passphrase {
    /// The passphrase of `what`, which is encrypted.
    pub fn existing(&self, what: &str) -> Result<Zeroizing<String>> {
        self.once(|| match self.given()? {
            Some(given) => Ok(given),
            None if io::stdin().is_terminal() => prompt(&format!("Passphrase of {what}: ")),
            None => sign::no_passphrase(what),
        })
    }

    /// A passphrase to encrypt `what` with.
    pub fn new_for(&self, what: &str) -> Result<Zeroizing<String>> {
        let passphrase = self.once(|| match self.given()? {
            Some(given) => Ok(given),
            None if io::stdin().is_terminal() => {
                let first = prompt(&format!("New passphrase for {what}: "))?;
                if prompt("The same once more: ")? == first {
                    Ok(first)
                } else {
                    Err(failure("the two passphrases differ".into()).into())
                }
            }
            None => Err(failure(format!(
                "{what} would be encrypted, and no passphrase was given"
            ))
            .hint("set HULLWRIGHT_PASSPHRASE, or name a file with --passphrase-file FILE")
            .hint("or leave them unencrypted with --no-passphrase")
            .into()),
        })?;
        let length = passphrase.chars().count();
        if length < SHORTEST {
            return Err(failure(format!(
                "the passphrase has {length} characters; expected {SHORTEST} or more"
            ))
            .into());
        }
        Ok(passphrase)
    }

    fn once(&self, read: impl FnOnce() -> Result<Zeroizing<String>>) -> Result<Zeroizing<String>> {
        if let Some(known) = self.known.get() {
            return Ok(known.clone());
        }
        let read = read()?;
        Ok(self.known.get_or_init(|| read).clone())
    }

    fn given(&self) -> Result<Option<Zeroizing<String>>> {
        let Some(path) = &self.file else {
            return Ok(environment::passphrase());
        };
        let text = fs::read_to_string(path)
            .map(Zeroizing::new)
            .map_err(|error| failure(format!("reading {}: {error}", path.display())))?;
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() {
            return Err(failure(format!(
                "{} has no passphrase in its first line",
                path.display()
            ))
            .into());
        }
        Ok(Some(Zeroizing::new(line.to_owned())))
    }
}

fn prompt(words: &str) -> Result<Zeroizing<String>> {
    rpassword::prompt_password(words)
        .map(Zeroizing::new)
        .map_err(|error| {
            let kind = match error.kind() {
                io::ErrorKind::Interrupted => Kind::Interrupted,
                _ => Kind::Keys,
            };
            Failure::new(kind, format!("reading the passphrase: {error}")).into()
        })
}
