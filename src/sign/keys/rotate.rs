//! New keys for old ones.
//!
//! `PK.auth` is signed by the PK in it: a machine in setup mode takes it, and one with another PK
//! does not (UEFI 2.10, section 32.3.1). For those, `PK-update.auth` has the new PK signed by the old
//! one. `KEK.auth` is signed by the new PK, `db.auth` and `dbx.auth` by the new KEK, so that a machine
//! takes them in the order PK, KEK, db, dbx, whatever it had before.

use std::path::{Path, PathBuf};

use anyhow::Result;
use uuid::Uuid;

use super::folder::Draft;
use super::open::Open;
use super::{
    AskPassphrase, ENROL_DIR, Key, RELEASE_KEY, RELEASE_PUBLIC, SET_FILE, certify, failure, lists,
};
use crate::failure::{Failure, Kind};
use crate::sign::efi::Variable;
use crate::sign::efi::siglist::{Entry, Signature};
use crate::sign::{FileSigner, Signer as _, openpgp};
use crate::stamp::Stamp;

/// The new PK, for machines that have the old one.
pub const PK_UPDATE: &str = "PK-update.auth";

/// What to renew.
#[derive(Debug, Clone, Copy)]
pub struct Rotation<'a> {
    /// These keys.
    pub keys: &'a [Key],
    /// Leave out of `db` and of the release keys what was there for a transition.
    pub drop_old: bool,
    /// Where the owner's keys are, if not in the set.
    pub owner: Option<&'a Path>,
}

/// What was changed.
#[derive(Debug)]
pub struct Changed {
    /// The set as it was, where keys changed.
    pub old: Option<PathBuf>,
    /// The owner's folder as it was, where that lies outside of the set and changed.
    pub old_owner: Option<PathBuf>,
    /// Files of signed variables that are new.
    pub renewed: Vec<String>,
}

/// Makes new keys in the set `dir` and renews the signed variables that depend on them.
///
/// # Errors
/// A key that has to sign is missing, locked or not the one that machines know. The set is then as it
/// was.
pub fn rotate(
    dir: &Path,
    rotation: &Rotation<'_>,
    ask: AskPassphrase<'_>,
    now: Stamp,
) -> Result<Changed> {
    let wanted = |key| rotation.keys.contains(&key);
    if rotation.keys.is_empty() && !rotation.drop_old {
        return Err(Failure::new(Kind::Usage, "no key to rotate was named").into());
    }
    let open = Open::new(dir, rotation.owner, ask)?;
    let time = open.next_time(now);
    let new = New::make(&open, rotation.keys, now)?;

    let db_changes = wanted(Key::Db) || wanted(Key::Verity) || rotation.drop_old;
    let kek_changes = wanted(Key::Kek) || wanted(Key::Pk);
    // What is open is signed with; what nobody needs stays closed.
    let old_pk = if kek_changes {
        Some(open.signer(Key::Pk, Variable::Pk)?)
    } else {
        None
    };
    let old_kek = if db_changes && !wanted(Key::Kek) {
        Some(open.signer(Key::Kek, Variable::Kek)?)
    } else {
        None
    };
    let pk = new.pair(Key::Pk).or(old_pk.as_ref());
    let kek = new.pair(Key::Kek).or(old_kek.as_ref());
    let entry = |der: &[u8]| lists::certificate(open.set.owner, der);

    let mut signed: Vec<(String, Vec<u8>)> = Vec::new();
    if let (Some(new_pk), Some(old_pk)) = (new.pair(Key::Pk), &old_pk) {
        let entries = [entry(new_pk.certificate())];
        signed.push((
            Variable::Pk.file(),
            lists::platform_key(open.set.owner, time, new_pk)?,
        ));
        signed.push((
            PK_UPDATE.into(),
            lists::sign(Variable::Pk, time, &entries, old_pk)?,
        ));
    }
    if let (true, Some(pk)) = (kek_changes, pk) {
        let current = match new.pair(Key::Kek) {
            Some(kek) => kek.certificate().to_vec(),
            None => current_kek(&open)?,
        };
        let mut entries = vec![entry(&current)];
        entries.extend(of_others(
            open.entries(&Variable::Kek.file())?,
            open.set.owner,
        ));
        signed.push((
            Variable::Kek.file(),
            lists::sign(Variable::Kek, time, &entries, pk)?,
        ));
    }
    if let (true, Some(kek)) = (db_changes || wanted(Key::Kek), kek) {
        let entries = db_entries(&open, &new, rotation.drop_old)?;
        signed.push((
            Variable::Db.file(),
            lists::sign(Variable::Db, time, &entries, kek)?,
        ));
    }
    if let Some(kek) = new.pair(Key::Kek) {
        signed.extend(super::revoke::sign_again(&open, time, kek)?);
    }
    write(&open, rotation, &new, signed, time)
}

/// The keys that were made.
struct New<'a> {
    pairs: Vec<(Key, FileSigner, Option<zeroize::Zeroizing<String>>)>,
    release: Option<openpgp::ReleaseKey>,
    open: &'a Open<'a>,
}

impl<'a> New<'a> {
    fn make(open: &'a Open<'a>, keys: &[Key], now: Stamp) -> Result<Self> {
        let (profile, name) = (open.set.profile, &open.set.name);
        let mut made = Self {
            pairs: Vec::new(),
            release: None,
            open,
        };
        for key in Key::ALL.into_iter().filter(|key| keys.contains(key)) {
            let passphrase = open.passphrase_for(key)?;
            if key == Key::Release {
                made.release = Some(openpgp::generate(
                    &key.subject(profile, name),
                    now,
                    key.lifetime(profile),
                    passphrase.as_ref().map(|text| text.as_str()),
                )?);
            } else {
                let pair = certify::make(key, profile, name, now)?;
                made.pairs.push((key, pair, passphrase));
            }
        }
        Ok(made)
    }

    fn pair(&self, key: Key) -> Option<&FileSigner> {
        self.pairs
            .iter()
            .find(|(other, ..)| *other == key)
            .map(|(_, pair, _)| pair)
    }

    /// The certificate of a key after the rotation.
    fn certificate(&self, key: Key) -> Result<Vec<u8>> {
        match self.pair(key) {
            Some(pair) => Ok(pair.certificate().to_vec()),
            None => self.open.certificate(key),
        }
    }
}

/// The KEK that machines know, which may be locked or elsewhere when the PK alone is rotated.
fn current_kek(open: &Open<'_>) -> Result<Vec<u8>> {
    open.entries(&Variable::Kek.file())?
        .into_iter()
        .find_map(|entry| match entry.signature {
            Signature::Certificate(der) if entry.owner == open.set.owner => Some(der),
            _ => None,
        })
        .ok_or_else(|| {
            let path = open.dir.join(ENROL_DIR).join(Variable::Kek.file());
            failure(format!("{} has no KEK of this set", path.display())).into()
        })
}

/// Entries that somebody else added: another vendor's keys stay trusted.
fn of_others(entries: Vec<Entry>, owner: Uuid) -> impl Iterator<Item = Entry> {
    entries
        .into_iter()
        .filter(move |entry| entry.owner != owner)
}

/// `db` after the rotation: the set's certificates first, then what was there.
fn db_entries(open: &Open<'_>, new: &New<'_>, drop_old: bool) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for key in [Key::Db, Key::Verity] {
        // Only older sets and those of others have no verity key.
        if key == Key::Db || new.pair(key).is_some() || open.file(key, "crt").exists() {
            entries.push(lists::certificate(open.set.owner, &new.certificate(key)?));
        }
    }
    for entry in open.entries(&Variable::Db.file())? {
        let dropped = drop_old && entry.owner == open.set.owner;
        if !dropped && !entries.contains(&entry) {
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn write(
    open: &Open<'_>,
    rotation: &Rotation<'_>,
    new: &New<'_>,
    signed: Vec<(String, Vec<u8>)>,
    time: Stamp,
) -> Result<Changed> {
    let draft = Draft::replacing(&open.dir)?;
    draft.copy_from(&open.dir)?;
    let renews_owner = new.pairs.iter().any(|(key, ..)| key.is_owners());
    let owner_draft = if open.owner_apart && renews_owner {
        let owner_draft = Draft::replacing(&open.owner)?;
        owner_draft.copy_from(&open.owner)?;
        Some(owner_draft)
    } else {
        None
    };
    for (key, pair, passphrase) in &new.pairs {
        let passphrase = passphrase.as_ref().map(|text| text.as_str());
        match &owner_draft {
            Some(owner_draft) if key.is_owners() => {
                let stem = |extension: &str| format!("{}.{extension}", key.name()).into();
                owner_draft.write_pair(stem, pair, passphrase)?;
            }
            _ => draft.write_pair(|extension| key.file(extension), pair, passphrase)?,
        }
    }
    let public = match (&new.release, rotation.drop_old) {
        (Some(release), true) => Some(release.public.clone()),
        (Some(release), false) => Some(openpgp::join(&[&release.public, &open.release_public()?])?),
        (None, true) => Some(openpgp::first(&open.release_public()?)?),
        (None, false) => None,
    };
    if let Some(release) = &new.release {
        draft.write(RELEASE_KEY, 0o600, release.secret.as_bytes())?;
    }
    if let Some(public) = public {
        draft.write(RELEASE_PUBLIC, 0o644, public.as_bytes())?;
    }
    for (name, bytes) in &signed {
        draft.write(Path::new(ENROL_DIR).join(name), 0o644, bytes)?;
    }
    let mut set = open.set.clone();
    if !signed.is_empty() {
        set.variables = latest(&signed)?.max(time);
    }
    draft.write(SET_FILE, 0o644, &set.encode()?)?;
    if let Some(owner_draft) = &owner_draft {
        super::folder::sync(owner_draft.path())?;
    }
    // The owner's folder first: a set whose variables are signed by keys that nobody has is worse than
    // keys that no variable knows yet.
    let old_owner = owner_draft
        .map(|owner_draft| owner_draft.replace(&open.owner))
        .transpose()?;
    Ok(Changed {
        old: Some(draft.replace(&open.dir)?),
        old_owner,
        renewed: signed.into_iter().map(|(name, _)| name).collect(),
    })
}

/// The latest time in signed variables.
pub(super) fn latest(signed: &[(String, Vec<u8>)]) -> Result<Stamp> {
    let mut latest = Stamp::from_seconds(0);
    for (_, bytes) in signed {
        latest = latest.max(crate::sign::efi::auth::timestamp(bytes)?);
    }
    Ok(latest)
}

#[cfg(test)]
mod tests;
