//! Making a new set.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use rayon::prelude::*;
use rsa::rand_core::{OsRng, RngCore as _};
use uuid::Uuid;

use super::folder::Draft;
use super::{
    ENROL_DIR, Key, KeyProfile, MARKER_FILE, OWNER_DIR, RELEASE_KEY, RELEASE_PUBLIC, SET_FILE, Set,
    certify, failure, lists,
};
use crate::failure::{Failure, Kind};
use crate::sign::efi::Variable;
use crate::sign::{Signer as _, Trust, openpgp};
use crate::stamp::Stamp;

/// What the subjects begin with when nobody gives a name.
const NAME: &str = "hullwright";
/// A subject's common name has 64 characters at most (X.520), and ours add some.
const LONGEST_NAME: usize = 30;

const MARKER_TEXT: &str = "\
These keys were made by hullwright for development. They lie unprotected on a developer's machine.
NOT FOR RELEASE: never enrol them in a machine that matters, never sign a release with them.
Make release keys with `hullwright keys new DIR --profile release`.
";

/// What a new set is to be.
#[derive(Debug, Clone, Copy)]
pub struct NewSet<'a> {
    /// What for.
    pub profile: KeyProfile,
    /// Whose: begins the subjects of its keys.
    pub name: Option<&'a str>,
    /// What its private keys are encrypted with.
    pub passphrase: Option<&'a str>,
}

/// Makes a set in the new folder `dir`, which appears complete or not at all.
///
/// # Errors
/// `dir` exists and is not empty, or can't be made; the name is none for a certificate.
pub fn create(dir: &Path, new: &NewSet<'_>, now: Stamp) -> Result<Trust> {
    let name = new.name.unwrap_or(NAME);
    check_name(name)?;
    if fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(exists(dir).into());
    }
    let draft = Draft::beside(dir)?;
    draft.folder(OWNER_DIR, 0o700)?;
    draft.folder(ENROL_DIR, 0o755)?;

    let pairs: Vec<_> = Key::X509
        .into_par_iter()
        .map(|key| certify::make(key, new.profile, name, now))
        .collect::<Result<_>>()?;
    for (key, pair) in Key::X509.into_iter().zip(&pairs) {
        draft.write_pair(|extension| key.file(extension), pair, new.passphrase)?;
    }
    let release = openpgp::generate(
        &Key::Release.subject(new.profile, name),
        now,
        Key::Release.lifetime(new.profile),
        new.passphrase,
    )?;
    draft.write(RELEASE_KEY, 0o600, release.secret.as_bytes())?;
    draft.write(RELEASE_PUBLIC, 0o644, release.public.as_bytes())?;

    let set = Set::new(new.profile, name.into(), random_uuid()?, now);
    let [pk, kek, db, verity] = &pairs[..] else {
        anyhow::bail!("a set has four keys with certificates");
    };
    let certificate =
        |pair: &crate::sign::FileSigner| lists::certificate(set.owner, pair.certificate());
    let db_entries = [certificate(db), certificate(verity)];
    for (variable, signed) in [
        (Variable::Pk, lists::platform_key(set.owner, now, pk)?),
        (
            Variable::Kek,
            lists::sign(Variable::Kek, now, &[certificate(kek)], pk)?,
        ),
        (
            Variable::Db,
            lists::sign(Variable::Db, now, &db_entries, kek)?,
        ),
    ] {
        draft.write(Path::new(ENROL_DIR).join(variable.file()), 0o644, &signed)?;
    }
    draft.write(SET_FILE, 0o644, &set.encode()?)?;
    if new.profile == KeyProfile::Development {
        draft.write(MARKER_FILE, 0o644, MARKER_TEXT.as_bytes())?;
    }
    if !draft.become_new(dir)? {
        return Err(exists(dir).into());
    }
    Trust::open(dir, now)
}

fn random_uuid() -> Result<Uuid> {
    let mut bytes = [0; 16];
    OsRng
        .try_fill_bytes(&mut bytes)
        .context("reading random bytes")?;
    Ok(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

/// What needs no escaping in a distinguished name (RFC 4514, section 2.4), nor in an OpenPGP user id.
fn check_name(name: &str) -> Result<()> {
    let bad = name
        .chars()
        .find(|c| c.is_control() || ",+\"\\<>;#=@".contains(*c));
    let length = name.chars().count();
    let problem = if let Some(bad) = bad {
        format!("{bad:?} can't be in it")
    } else if name.trim() != name || name.is_empty() {
        "it begins or ends with a space, or is empty".into()
    } else if length > LONGEST_NAME {
        format!("it has {length} characters; expected {LONGEST_NAME} at most")
    } else {
        return Ok(());
    };
    Err(Failure::new(
        Kind::Usage,
        format!("`{name}` is no name for the keys' subjects: {problem}"),
    )
    .into())
}

fn exists(dir: &Path) -> Failure {
    failure(format!("{} exists already and is not empty", dir.display()))
        .hint("name another folder; keys are never overwritten")
}
