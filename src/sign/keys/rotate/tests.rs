//! Sets that change: rotation, revocation, and what the check says of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::*;
use crate::digest::Sha256;
use crate::sign::efi::auth::Authenticated;
use crate::sign::keys::private::no_passphrase;
use crate::sign::keys::tests::{development_keys, other_keys};
use crate::sign::keys::{
    DAY, DBX_UPDATE, Finding, KeyProfile, NewSet, Revoked, Set, Severity, check, create, revoke,
    show,
};
use crate::sign::{Role, Trust};

/// As in the tests of the module above: when the sets were made.
const NOW: Stamp = Stamp::from_seconds(1_800_000_000);

/// A copy of the development set that may be changed.
struct Copy {
    home: tempfile::TempDir,
}

impl Copy {
    fn new() -> Self {
        Self::of(&development_keys().trust)
    }

    fn of(trust: &Trust) -> Self {
        let home = tempfile::tempdir().unwrap();
        let copy = Self { home };
        let dir = copy.dir();
        let made = Draft::beside(&dir).unwrap();
        made.copy_from(trust.dir()).unwrap();
        assert!(made.become_new(&dir).unwrap());
        copy
    }

    fn dir(&self) -> PathBuf {
        self.home.path().join("keys")
    }

    fn old(&self, number: usize) -> PathBuf {
        self.home.path().join(format!("keys.old-{number}"))
    }

    fn rotate(&self, keys: &[Key]) -> Result<Changed> {
        self.rotate_with(keys, false, None)
    }

    fn rotate_with(&self, keys: &[Key], drop_old: bool, owner: Option<&Path>) -> Result<Changed> {
        let rotation = Rotation {
            keys,
            drop_old,
            owner,
        };
        rotate(&self.dir(), &rotation, &no_passphrase, NOW)
    }

    fn revoke(&self, what: &[Revoked]) -> Result<Option<Changed>> {
        revoke(&self.dir(), what, None, &no_passphrase, NOW)
    }

    fn check(&self) -> Vec<Finding> {
        check(&self.dir(), None, NOW).unwrap()
    }
}

fn read(dir: &Path, name: &str) -> Vec<u8> {
    fs::read(dir.join(name)).unwrap()
}

fn verifies(dir: &Path, file: &str, variable: Variable, signer: &[u8]) -> bool {
    let bytes = read(dir, &format!("enrol/{file}"));
    let append = file == DBX_UPDATE;
    let parsed = Authenticated::parse(&bytes).unwrap();
    parsed.verify(variable, append, signer).is_ok()
}

fn certificates(dir: &Path, file: &str) -> Vec<Vec<u8>> {
    lists::entries(&read(dir, &format!("enrol/{file}")))
        .unwrap()
        .into_iter()
        .filter_map(|entry| match entry.signature {
            Signature::Certificate(der) => Some(der),
            _ => None,
        })
        .collect()
}

fn time_of(dir: &Path, file: &str) -> u64 {
    let bytes = read(dir, &format!("enrol/{file}"));
    Authenticated::parse(&bytes).unwrap().time.seconds()
}

/// All files with their hashes and modes.
fn listing(dir: &Path) -> Vec<(PathBuf, u32, Sha256)> {
    let mut out = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            let below = path.strip_prefix(dir).unwrap().to_owned();
            out.push((below, mode, Sha256::of(&fs::read(&path).unwrap())));
        }
    }
    out.sort();
    out
}

#[test]
fn a_new_db_key_joins_the_old_one_until_that_is_dropped() {
    let copy = Copy::new();
    let (dir, before) = (copy.dir(), listing(&copy.dir()));
    let (old_db, verity) = (read(&dir, "db.der"), read(&dir, "verity.der"));
    let changed = copy.rotate(&[Key::Db]).unwrap();
    assert_eq!(changed.renewed, ["db.auth"]);
    assert_eq!(changed.old.unwrap(), copy.old(1).canonicalize().unwrap());
    assert_eq!(listing(&copy.old(1)), before, "the old set is whole");

    let new_db = read(&dir, "db.der");
    assert_ne!(new_db, old_db);
    assert_eq!(
        certificates(&dir, "db.auth"),
        [new_db.clone(), verity.clone(), old_db]
    );
    assert!(verifies(
        &dir,
        "db.auth",
        Variable::Db,
        &read(&dir, "owner/KEK.der")
    ));
    // The clock stands still, and the time grows.
    assert_eq!(time_of(&dir, "db.auth"), NOW.seconds() + 1);
    assert_eq!(
        Set::read(&dir).unwrap().variables.seconds(),
        NOW.seconds() + 1
    );
    for same in [
        "enrol/PK.auth",
        "enrol/KEK.auth",
        "verity.key",
        "release.asc",
    ] {
        assert_eq!(read(&dir, same), read(&copy.old(1), same), "{same}");
    }
    assert_eq!(copy.check(), []);
    Trust::open(&dir, NOW).unwrap();

    copy.rotate_with(&[], true, None).unwrap();
    assert_eq!(certificates(&dir, "db.auth"), [new_db, verity]);
    assert_eq!(time_of(&dir, "db.auth"), NOW.seconds() + 2);
    assert_eq!(copy.check(), []);
}

#[test]
fn new_owners_keys_are_taken_by_machines_with_the_old_ones_and_with_none() {
    let copy = Copy::new();
    let dir = copy.dir();
    copy.revoke(&[Revoked::Image([7; 32])]).unwrap().unwrap();
    let (old_pk, old_kek) = (read(&dir, "owner/PK.der"), read(&dir, "owner/KEK.der"));
    copy.rotate(&[Key::Pk, Key::Kek]).unwrap();
    let (pk, kek) = (read(&dir, "owner/PK.der"), read(&dir, "owner/KEK.der"));
    for (file, variable, signer, other) in [
        ("PK.auth", Variable::Pk, &pk, &old_pk),
        (PK_UPDATE, Variable::Pk, &old_pk, &pk),
        ("KEK.auth", Variable::Kek, &pk, &old_pk),
        ("db.auth", Variable::Db, &kek, &old_kek),
        ("dbx.auth", Variable::Dbx, &kek, &old_kek),
        (DBX_UPDATE, Variable::Dbx, &kek, &old_kek),
    ] {
        assert!(verifies(&dir, file, variable, signer), "{file}");
        assert!(!verifies(&dir, file, variable, other), "{file}");
    }
    for file in ["PK.auth", PK_UPDATE] {
        assert_eq!(
            certificates(&dir, file),
            std::slice::from_ref(&pk),
            "{file}"
        );
    }
    assert_eq!(certificates(&dir, "KEK.auth"), [kek]);
    assert_eq!(copy.check(), []);

    // Without the KEK's private key, a new PK still signs it.
    fs::remove_file(dir.join("owner/KEK.key")).unwrap();
    let changed = copy.rotate(&[Key::Pk]).unwrap();
    assert_eq!(changed.renewed, ["PK.auth", PK_UPDATE, "KEK.auth"]);
    let pk = read(&dir, "owner/PK.der");
    assert!(verifies(&dir, "KEK.auth", Variable::Kek, &pk));
}

#[test]
fn the_owners_folder_may_lie_elsewhere() {
    let copy = Copy::new();
    let dir = copy.dir();
    let safe = copy.home.path().join("safe");
    fs::rename(dir.join("owner"), &safe).unwrap();
    let before = listing(&dir);
    let missing = copy.rotate(&[Key::Db]).unwrap_err().to_string();
    assert!(missing.contains("KEK.crt is missing"), "{missing}");
    let wrong = other_keys().trust.dir().join("owner");
    let wrong = copy.rotate_with(&[Key::Db], false, Some(&wrong));
    let wrong = wrong.unwrap_err().to_string();
    assert!(wrong.contains("is not the certificate in"), "{wrong}");
    assert_eq!(listing(&dir), before);
    assert!(!copy.old(1).exists(), "nothing is left of what failed");

    let notes = copy.check();
    assert!(notes.iter().all(|note| note.severity == Severity::Note));
    assert_eq!(notes.len(), 2, "{notes:?}");

    let old_safe = listing(&safe);
    let changed = copy
        .rotate_with(&[Key::Kek, Key::Verity], false, Some(&safe))
        .unwrap();
    assert_eq!(listing(&changed.old_owner.unwrap()), old_safe);
    assert!(!dir.join("owner").exists());
    assert_eq!(check(&dir, Some(&safe), NOW).unwrap(), []);

    // A link to it is as good as its name.
    std::os::unix::fs::symlink("../safe", dir.join("owner")).unwrap();
    let old_safe = listing(&safe);
    let changed = copy.rotate(&[Key::Pk]).unwrap();
    assert_eq!(listing(&changed.old_owner.unwrap()), old_safe);
    assert!(dir.join("owner").is_symlink());
    assert_eq!(copy.check(), []);
}

#[test]
fn a_set_with_a_passphrase_stays_one() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("keys");
    let new = NewSet {
        profile: KeyProfile::Development,
        name: Some("Example Corp"),
        passphrase: Some("correct horse"),
    };
    let trust = create(&dir, &new, NOW).unwrap();
    let right = |_: &str| Ok(Zeroizing::new("correct horse".to_owned()));
    let wrong = |_: &str| Ok(Zeroizing::new("battery staple".to_owned()));
    FileSigner::open(&trust, Role::Db, &right).unwrap();
    for (ask, expected) in [
        (&wrong as AskPassphrase<'_>, "is not that of"),
        (&no_passphrase, "is encrypted, and no passphrase was given"),
    ] {
        let error = FileSigner::open(&trust, Role::Db, ask).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        for key in [Key::Release, Key::Verity] {
            let rotation = Rotation {
                keys: &[key],
                drop_old: false,
                owner: None,
            };
            let error = rotate(&dir, &rotation, ask, NOW).unwrap_err();
            assert!(error.to_string().contains(expected), "{key:?}: {error}");
        }
    }
    let rotation = Rotation {
        keys: &[Key::Release, Key::Verity],
        drop_old: false,
        owner: None,
    };
    rotate(&dir, &rotation, &right, NOW).unwrap();
    for shown in show(&dir, None).unwrap().keys {
        assert_eq!(shown.private, crate::sign::keys::Private::Encrypted);
        assert!(shown.subject.contains("Example Corp"), "{}", shown.subject);
    }
    let trust = Trust::open(&dir, NOW).unwrap();
    FileSigner::open(&trust, Role::Verity, &right).unwrap();
    let public = String::from_utf8(read(&dir, "release.asc")).unwrap();
    assert_eq!(openpgp::describe(&public).unwrap().len(), 2, "new and old");
}

#[test]
fn what_is_revoked_grows_and_the_update_has_only_what_is_new() {
    let copy = Copy::new();
    let dir = copy.dir();
    let kek = read(&dir, "owner/KEK.der");
    let entries = |file: &str| lists::entries(&read(&dir, &format!("enrol/{file}"))).unwrap();
    let (one, two) = (Revoked::Image([1; 32]), Revoked::Image([2; 32]));
    copy.revoke(std::slice::from_ref(&one)).unwrap().unwrap();
    let changed = copy.revoke(&[one.clone(), two.clone(), two]).unwrap();
    assert_eq!(changed.unwrap().renewed, [DBX_UPDATE, "dbx.auth"]);
    let signatures = |file: &str| {
        entries(file)
            .into_iter()
            .map(|entry| entry.signature)
            .collect::<Vec<_>>()
    };
    let (first, second) = (Signature::Sha256([1; 32]), Signature::Sha256([2; 32]));
    assert_eq!(signatures("dbx.auth"), [first, second.clone()]);
    assert_eq!(signatures(DBX_UPDATE), [second]);
    for file in ["dbx.auth", DBX_UPDATE] {
        assert!(verifies(&dir, file, Variable::Dbx, &kek), "{file}");
    }
    assert!(time_of(&dir, "dbx.auth") > time_of(&dir, DBX_UPDATE));
    assert!(copy.revoke(&[one]).unwrap().is_none());
    assert!(!copy.old(1).exists(), "no key changed");

    let theirs = other_keys().trust.db().to_vec();
    copy.revoke(&[Revoked::Certificate(theirs.clone())])
        .unwrap();
    assert_eq!(certificates(&dir, DBX_UPDATE), [theirs]);
    let ours = Revoked::Certificate(read(&dir, "db.der"));
    let error = copy.revoke(&[ours]).unwrap_err().to_string();
    assert!(
        error.contains("machines would refuse every image"),
        "{error}"
    );
    assert_eq!(copy.check(), []);
    let trust = Trust::open(&dir, NOW).unwrap();
    assert_eq!(
        trust.enrolment().unwrap().dbx.as_deref(),
        Some(&read(&dir, "enrol/dbx.auth")[..])
    );
}

#[test]
fn what_is_wrong_with_a_set_is_found() {
    type Sabotage = fn(&Path);
    let other = || other_keys().trust.dir().to_owned();
    assert_eq!(Copy::new().check(), []);
    let year = 365 * DAY;
    let put = |name: &'static str, from: &'static str| {
        move |dir: &Path| {
            fs::copy(other().join(from), dir.join(name)).unwrap();
        }
    };
    let nothing: Sabotage = |_| ();
    type Case = (Box<dyn Fn(&Path)>, u64, Severity, &'static str);
    let cases: Vec<Case> = vec![
        (
            Box::new(nothing),
            NOW.seconds() + 20 * year - 30 * DAY,
            Severity::Warning,
            "expires on 2047-01-10, in 30 days",
        ),
        (
            Box::new(nothing),
            NOW.seconds() + 21 * year,
            Severity::Error,
            "db.crt expired on 2047-01-10",
        ),
        (
            Box::new(nothing),
            NOW.seconds() - 2 * DAY,
            Severity::Error,
            "db.crt is not valid before 2027-01-14",
        ),
        (
            Box::new(nothing),
            NOW.seconds() - 2 * DAY,
            Severity::Warning,
            "is of the future",
        ),
        (
            Box::new(|dir| fs::remove_file(dir.join("db.key")).unwrap()),
            NOW.seconds(),
            Severity::Warning,
            "db.key is missing: this folder alone can't sign",
        ),
        (
            Box::new(|dir| {
                let mode = fs::Permissions::from_mode(0o644);
                fs::set_permissions(dir.join("verity.key"), mode).unwrap();
            }),
            NOW.seconds(),
            Severity::Warning,
            "verity.key has mode 0644",
        ),
        (
            Box::new(put("verity.key", "verity.key")),
            NOW.seconds(),
            Severity::Error,
            "verity.crt is not the certificate of the key in",
        ),
        (
            Box::new(put("db.der", "db.der")),
            NOW.seconds(),
            Severity::Error,
            "db.der is not the certificate in",
        ),
        (
            Box::new(put("release.asc", "release.asc")),
            NOW.seconds(),
            Severity::Error,
            "release.asc does not begin with the key in",
        ),
        (
            Box::new(put("enrol/PK.auth", "enrol/PK.auth")),
            NOW.seconds(),
            Severity::Error,
            "PK.auth is not signed by the PK",
        ),
        (
            Box::new(put("enrol/db.auth", "enrol/db.auth")),
            NOW.seconds(),
            Severity::Error,
            "db.auth is not signed by the KEK",
        ),
        (
            Box::new(put("enrol/db.auth", "enrol/db.auth")),
            NOW.seconds(),
            Severity::Error,
            "enrol/db.auth lacks",
        ),
        (
            Box::new(|dir| fs::remove_file(dir.join("enrol/KEK.auth")).unwrap()),
            NOW.seconds(),
            Severity::Error,
            "KEK.auth: No such file",
        ),
        (
            Box::new(|dir| {
                let path = dir.join("set.json");
                let text = fs::read_to_string(&path).unwrap();
                fs::write(path, text.replace("1800000000", "1700000000")).unwrap();
            }),
            NOW.seconds(),
            Severity::Error,
            "later than set.json says",
        ),
    ];
    for (sabotage, now, severity, expected) in cases {
        let copy = Copy::new();
        sabotage(&copy.dir());
        let findings = check(&copy.dir(), None, Stamp::from_seconds(now)).unwrap();
        assert!(
            findings
                .iter()
                .any(|finding| finding.severity == severity && finding.message.contains(expected)),
            "{expected}: {findings:#?}"
        );
    }
    // The same mode in a release set is an error.
    let copy = Copy::of(&other_keys().trust);
    let mode = fs::Permissions::from_mode(0o640);
    fs::set_permissions(copy.dir().join("verity.key"), mode).unwrap();
    let findings = copy.check();
    let trust = Trust::open(&copy.dir(), NOW).unwrap();
    let refused = FileSigner::open(&trust, Role::Verity, &no_passphrase);
    assert_eq!(findings[0].severity, Severity::Error, "{findings:#?}");
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("has mode 0640: others may read it"),
        "{refused}"
    );
}

#[test]
fn names_that_are_none_and_folders_that_are_no_sets_are_refused() {
    let home = tempfile::tempdir().unwrap();
    for (name, expected) in [
        ("a, b", "',' can't be in it"),
        ("x <y@z>", "'<' can't be in it"),
        (" x", "begins or ends with a space"),
        ("", "is empty"),
        ("1234567890123456789012345678901", "31 characters"),
    ] {
        let new = NewSet {
            profile: KeyProfile::Development,
            name: Some(name),
            passphrase: None,
        };
        let error = create(&home.path().join("k"), &new, NOW).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
    let copy = Copy::new();
    let set = copy.dir().join("set.json");
    for (text, expected) in [
        (None, "reading"),
        (Some("{}"), "can't be understood"),
        (
            Some(
                r#"{"set":2,"profile":"dev","name":"x","owner":"1b6487ba-2ac1-4678-896d-3ae6204637d4","variables":1}"#,
            ),
            "is of version 2; expected 1",
        ),
    ] {
        match text {
            Some(text) => fs::write(&set, text).unwrap(),
            None => fs::remove_file(&set).unwrap(),
        }
        let error = copy.rotate(&[Key::Db]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
