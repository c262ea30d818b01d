//! Whether a set will do its work: today, and in three months.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use der::Decode as _;
use rsa::RsaPublicKey;
use rsa::traits::PublicKeyParts as _;
use x509_cert::Certificate;

use super::show::{Private, Shown};
use super::{
    DAY, DBX_UPDATE, ENROL_DIR, Key, KeyProfile, MIN_BITS, OWNER_DIR, Overview, PK_UPDATE,
    RELEASE_KEY, RELEASE_PUBLIC, Set, private, show,
};
use crate::sign::authenticode::public_key;
use crate::sign::efi::Variable;
use crate::sign::efi::auth::Authenticated;
use crate::sign::efi::siglist::{self, Entry, Signature};
use crate::sign::openpgp;
use crate::stamp::Stamp;

/// How long before its end a key is worth a warning.
const AHEAD: u64 = 90 * DAY;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Will be wrong, or is a risk.
    Warning,
    /// Is wrong.
    Error,
}

/// Something to say of a set.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What, with the file it is about.
    pub message: String,
    /// What to do.
    pub hints: Vec<String>,
}

struct Check<'a> {
    dir: &'a Path,
    owner: PathBuf,
    overview: Overview,
    now: Stamp,
    findings: Vec<Finding>,
}

/// Everything that is wrong or will be soon with the set in `dir`, whose owner's keys are in `owner`,
/// else in the set. No passphrase is needed: what is encrypted is not opened.
///
/// # Errors
/// A file can't be read or understood, so that there is nothing to check.
pub fn check(dir: &Path, owner: Option<&Path>, now: Stamp) -> Result<Vec<Finding>> {
    let mut check = Check {
        dir,
        owner: owner.map_or_else(|| dir.join(OWNER_DIR), Path::to_owned),
        overview: show(dir, owner)?,
        now,
        findings: Vec::new(),
    };
    if check.overview.set.is_none() {
        Set::read(dir)?;
    }
    for key in Key::ALL {
        check.key(key);
    }
    check.release();
    check.variables();
    check
        .findings
        .sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(check.findings)
}

impl Check<'_> {
    fn say(&mut self, severity: Severity, message: String, hints: &[String]) {
        self.findings.push(Finding {
            severity,
            message,
            hints: hints.to_vec(),
        });
    }

    fn error(&mut self, message: String) {
        self.say(Severity::Error, message, &[]);
    }

    fn shown(&self, key: Key) -> Option<&Shown> {
        self.overview.keys.iter().find(|shown| shown.key == key)
    }

    fn set(&self) -> Option<&Set> {
        self.overview.set.as_ref()
    }

    fn rotate(&self, key: Key) -> String {
        let (dir, name) = (self.dir.display(), key.name());
        format!("run `hullwright keys rotate {dir} {name}`")
    }

    fn key(&mut self, key: Key) {
        let Some(shown) = self.shown(key).cloned() else {
            let name = key.name();
            let message = format!("{} has no {name} certificate or key", self.dir.display());
            return self.say(Severity::Warning, message, &[self.rotate(key)]);
        };
        self.validity(&shown);
        let path = key.file_in(self.dir, &self.owner, "key");
        if shown.private == Private::Absent {
            return self.absent(key, &path);
        }
        if let Some(mode) = private::loose_mode(&path) {
            let development = self
                .set()
                .is_some_and(|set| set.profile == KeyProfile::Development);
            let severity = if development {
                Severity::Warning
            } else {
                Severity::Error
            };
            let shown = path.display();
            self.say(
                severity,
                format!("{shown} has mode {mode:04o}: others may read it"),
                &[format!(
                    "run `chmod 600 {shown}`, and think who has read it"
                )],
            );
        }
        if key != Key::Release {
            self.certificate(&shown, &path);
        }
    }

    fn absent(&mut self, key: Key, path: &Path) {
        let shown = path.display();
        if key.is_owners() {
            self.say(
                Severity::Note,
                format!("{shown} lies elsewhere"),
                &["check it there, too, with --owner DIR".into()],
            );
        } else {
            self.say(
                Severity::Warning,
                format!("{shown} is missing: this folder alone can't sign"),
                &[],
            );
        }
    }

    fn validity(&mut self, shown: &Shown) {
        let (place, now) = (shown.place.display(), self.now);
        if now < shown.from {
            self.error(format!(
                "{place} is not valid before {}; is this machine's clock right?",
                date(shown.from)
            ));
        }
        let Some(until) = shown.until else {
            return;
        };
        let hint = [self.rotate(shown.key)];
        if now > until {
            let message = format!("{place} expired on {}", date(until));
            self.say(Severity::Error, message, &hint);
        } else if now.seconds() + AHEAD > until.seconds() {
            let days = (until.seconds() - now.seconds()) / DAY;
            let message = format!("{place} expires on {}, in {days} days", date(until));
            self.say(Severity::Warning, message, &hint);
        }
    }

    /// Key and certificate, as far as no passphrase is needed.
    fn certificate(&mut self, shown: &Shown, key: &Path) {
        let der = shown.place.with_extension("der");
        if let Ok(bytes) = fs::read(&der)
            && bytes != shown.certificate
        {
            let (der, place) = (der.display(), shown.place.display());
            self.error(format!("{der} is not the certificate in {place}"));
        }
        let Some(public) = Certificate::from_der(&shown.certificate)
            .ok()
            .and_then(|certificate| public_key(&certificate).ok())
        else {
            return self.error(format!("{} is of no RSA key", shown.place.display()));
        };
        let bits = public.size() * 8;
        if bits < MIN_BITS {
            self.error(format!(
                "{} is of a key of {bits} bits; Secure Boot needs {MIN_BITS} or more",
                shown.place.display()
            ));
        }
        if shown.private == Private::Plain {
            match private::open(self.dir, key, &super::no_passphrase) {
                Ok(private) if RsaPublicKey::from(&private) == public => {}
                Ok(_) => self.error(format!(
                    "{} is not the certificate of the key in {}",
                    shown.place.display(),
                    key.display()
                )),
                Err(error) => self.error(format!("{error:#}")),
            }
        }
    }

    fn release(&mut self) {
        let (secret, public) = (self.dir.join(RELEASE_KEY), self.dir.join(RELEASE_PUBLIC));
        let Ok(text) = fs::read_to_string(&secret).map(zeroize::Zeroizing::new) else {
            return;
        };
        match openpgp::describe_secret(&text) {
            Ok((key, _)) => {
                let same = self
                    .shown(Key::Release)
                    .is_some_and(|shown| shown.fingerprint == key.fingerprint);
                if !same {
                    let (secret, public) = (secret.display(), public.display());
                    self.error(format!("{public} does not begin with the key in {secret}"));
                }
            }
            Err(error) => self.error(format!("{}: {error:#}", secret.display())),
        }
    }

    /// The signed variables: who signed them, when, and what they hold.
    fn variables(&mut self) {
        let pk = self.shown(Key::Pk).map(|shown| shown.certificate.clone());
        let kek = self.shown(Key::Kek).map(|shown| shown.certificate.clone());
        let pks = self.variable(&Variable::Pk.file(), Variable::Pk, false, pk.as_deref());
        let keks = self.variable(&Variable::Kek.file(), Variable::Kek, false, pk.as_deref());
        let db = self.variable(&Variable::Db.file(), Variable::Db, false, kek.as_deref());
        let has_dbx = [DBX_UPDATE.into(), Variable::Dbx.file()]
            .iter()
            .any(|file| self.dir.join(ENROL_DIR).join(file).exists());
        let mut dbx = Vec::new();
        if has_dbx {
            dbx = self.variable(&Variable::Dbx.file(), Variable::Dbx, false, kek.as_deref());
            let update = self.variable(DBX_UPDATE, Variable::Dbx, true, kek.as_deref());
            if update.iter().any(|entry| !dbx.contains(entry)) {
                let (update, whole) = (self.enrol(DBX_UPDATE), self.enrol(&Variable::Dbx.file()));
                self.error(format!("{update} revokes what {whole} does not"));
            }
        }
        if self.dir.join(ENROL_DIR).join(PK_UPDATE).exists() {
            // Who signed it is the PK of before, which the set does not have any more.
            self.variable(PK_UPDATE, Variable::Pk, false, None);
        }
        for (key, variable, entries) in [
            (Key::Pk, Variable::Pk, &pks),
            (Key::Kek, Variable::Kek, &keks),
            (Key::Db, Variable::Db, &db),
            (Key::Verity, Variable::Db, &db),
        ] {
            let Some(shown) = self.shown(key) else {
                continue;
            };
            let has = |entries: &[Entry]| {
                entries.iter().any(
                    |entry| matches!(&entry.signature, Signature::Certificate(der) if *der == shown.certificate),
                )
            };
            let place = shown.place.display().to_string();
            let (missing, revoked) = (!has(entries), has(&dbx));
            if missing {
                self.error(format!("{} lacks {place}", self.enrol(&variable.file())));
            }
            if revoked {
                self.error(format!(
                    "{} revokes {place}",
                    self.enrol(&Variable::Dbx.file())
                ));
            }
        }
    }

    /// A file of signed variables, for people.
    fn enrol(&self, file: &str) -> String {
        self.dir.join(ENROL_DIR).join(file).display().to_string()
    }

    /// One signed variable; its entries.
    fn variable(
        &mut self,
        file: &str,
        variable: Variable,
        append: bool,
        signer: Option<&[u8]>,
    ) -> Vec<Entry> {
        let path = self.dir.join(ENROL_DIR).join(file);
        let shown = path.display();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.error(format!("reading {shown}: {error}"));
                return Vec::new();
            }
        };
        let parsed = match Authenticated::parse(&bytes) {
            Ok(parsed) => parsed,
            Err(error) => {
                self.error(format!("{shown} is no signed variable: {error}"));
                return Vec::new();
            }
        };
        if let Some(signer) = signer
            && let Err(error) = parsed.verify(variable, append, signer)
        {
            let by = match variable {
                Variable::Pk | Variable::Kek => Key::Pk,
                Variable::Db | Variable::Dbx => Key::Kek,
            };
            let name = by.name();
            self.error(format!("{shown} is not signed by the {name}: {error:#}"));
        }
        if let Some(set) = self.set()
            && parsed.time > set.variables
        {
            self.error(format!(
                "{shown} is of {}, later than {} says; the next one would not be newer",
                date(parsed.time),
                super::SET_FILE
            ));
        }
        if parsed.time.seconds() > self.now.seconds() + DAY {
            let message = format!("{shown} is of the future: {}", date(parsed.time));
            self.say(Severity::Warning, message, &[]);
        }
        siglist::read(parsed.payload).unwrap_or_else(|error| {
            self.error(format!("{shown} holds no signature lists: {error}"));
            Vec::new()
        })
    }
}

/// A day, as ISO 8601 writes it.
#[must_use]
pub fn date(time: Stamp) -> String {
    der::DateTime::from_unix_duration(std::time::Duration::from_secs(time.seconds())).map_or_else(
        |_| format!("second {}", time.seconds()),
        |time| format!("{:04}-{:02}-{:02}", time.year(), time.month(), time.day()),
    )
}
