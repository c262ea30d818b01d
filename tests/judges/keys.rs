//! Key sets, held against efitools, sbsigntool, OpenSSL and GnuPG.

use std::fs;
use std::path::{Path, PathBuf};

use hullwright::sign::efi::Variable;
use hullwright::sign::efi::auth::{self, Authenticated, sign_variable};
use hullwright::sign::efi::siglist::{self, Entry, Signature};
use hullwright::sign::keys::{self, KeyProfile, NewSet, Revoked, Set};
use hullwright::sign::{FileSigner, Role, Signer as _, Trust, cms, no_passphrase};
use hullwright::stamp::Stamp;

use crate::support::{bad, good, tool};

/// 2024-05-06 07:08:09 UTC.
const TIME: Stamp = Stamp::from_seconds(1_714_979_289);
const PASSPHRASE: &str = "correct horse battery";

struct Scratch {
    dir: tempfile::TempDir,
    trust: Trust,
    db: FileSigner,
}

impl Scratch {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let now = crate::fixture::now();
        let trust = keys::generate(&dir.path().join("keys"), KeyProfile::Development, now).unwrap();
        Self {
            db: FileSigner::open(&trust, Role::Db, &no_passphrase).unwrap(),
            trust,
            dir,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn keys(&self, name: &str) -> PathBuf {
        self.trust.dir().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }
}

fn read(path: impl AsRef<Path>) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn signature_lists_and_signed_variables_are_those_of_efitools() {
    let scratch = Scratch::new();
    let owner = Set::read(scratch.trust.dir()).unwrap().owner;
    let theirs = scratch.path("theirs.esl");
    good(
        tool("cert-to-efi-sig-list")
            .args(["-g", &owner.to_string()])
            .arg(scratch.keys("db.crt"))
            .arg(&theirs),
    );
    let entry = |signature| Entry { owner, signature };
    let ours = siglist::write(&[entry(Signature::Certificate(scratch.trust.db().to_vec()))]);
    let ours = ours.unwrap();
    assert_eq!(ours, read(&theirs), "the list");

    for (variable, append) in [
        (Variable::Pk, false),
        (Variable::Kek, false),
        (Variable::Db, false),
        (Variable::Dbx, true),
    ] {
        let out = scratch.path("theirs.auth");
        let mut command = tool("sign-efi-sig-list");
        if append {
            command.arg("-a");
        }
        good(
            command
                .args(["-t", "2024-05-06 07:08:09", "-k"])
                .arg(scratch.keys("db.key"))
                .arg("-c")
                .arg(scratch.keys("db.crt"))
                .arg(variable.name())
                .arg(&theirs)
                .arg(&out),
        );
        let signed = sign_variable(variable, TIME, append, &ours, &scratch.db).unwrap();
        assert_eq!(signed, read(&out), "{variable:?}");
    }

    // And back: what efitools finds in a set's db.
    let list = scratch.write(
        "db.esl",
        auth::payload(&read(scratch.keys("enrol/db.auth"))).unwrap(),
    );
    good(
        tool("sig-list-to-certs")
            .arg(list)
            .arg(scratch.path("found")),
    );
    assert_eq!(
        read(scratch.path("found-0.der")),
        read(scratch.keys("db.der"))
    );
    assert_eq!(
        read(scratch.path("found-1.der")),
        read(scratch.keys("verity.der"))
    );
}

#[test]
fn digests_of_images_are_listed_as_efitools_lists_them() {
    let scratch = Scratch::new();
    let image = Path::new("/usr/lib/efitools/x86_64-linux-gnu/HelloWorld.efi");
    let theirs = scratch.path("theirs.esl");
    good(tool("hash-to-efi-sig-list").arg(image).arg(&theirs));
    let digest = keys::image_digest(&read(image)).unwrap();
    let entries = siglist::read(&read(&theirs)).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].signature, Signature::Sha256(digest));
    assert_eq!(siglist::write(&entries).unwrap(), read(&theirs));

    let dir = scratch.trust.dir();
    let what = [Revoked::Image(digest)];
    let changed = keys::revoke(dir, &what, None, &no_passphrase, crate::fixture::now());
    assert!(changed.unwrap().is_some());
    let update = read(scratch.keys("enrol/dbx-update.auth"));
    let listed = siglist::read(auth::payload(&update).unwrap()).unwrap();
    assert_eq!(listed[0].signature, entries[0].signature);
}

#[test]
fn variables_that_sbvarsign_signed_verify() {
    let scratch = Scratch::new();
    let data = scratch.write("data", b"data");
    let out = scratch.path("data.auth");
    good(
        tool("sbvarsign")
            .arg("--key")
            .arg(scratch.keys("db.key"))
            .arg("--cert")
            .arg(scratch.keys("db.crt"))
            // Without these it signs for appending, too.
            .args(["--attr", "NON_VOLATILE,BOOTSERVICE_ACCESS,RUNTIME_ACCESS"])
            .arg("--output")
            .arg(&out)
            .arg("db")
            .arg(data),
    );
    let bytes = read(out);
    let signed = Authenticated::parse(&bytes).unwrap();
    assert_eq!(signed.payload, b"data");
    signed
        .verify(Variable::Db, false, scratch.trust.db())
        .unwrap();
    signed
        .verify(Variable::Dbx, false, scratch.trust.db())
        .unwrap_err();
}

#[test]
fn openssl_agrees_on_detached_signatures() {
    let scratch = Scratch::new();
    let bare = cms::detached(b"content", &scratch.db, false).unwrap();
    let signature = scratch.write("content.p7s", &cms::content_info(&bare).unwrap());
    let content = scratch.write("content", b"content");
    let verify = |content: &Path| {
        let mut command = tool("openssl");
        command
            .args([
                "cms",
                "-verify",
                "-binary",
                "-inform",
                "DER",
                "-noverify",
                "-in",
            ])
            .arg(&signature)
            .arg("-certfile")
            .arg(scratch.keys("db.crt"))
            .arg("-content")
            .arg(content)
            .args(["-out", "/dev/null"]);
        command
    };
    good(&mut verify(&content));
    bad(&mut verify(&scratch.write("other", b"Content")), 4);
    assert_eq!(scratch.db.certificate(), read(scratch.keys("db.der")));
}

#[test]
fn certificates_are_what_openssl_expects() {
    let scratch = Scratch::new();
    for name in ["owner/PK", "owner/KEK", "db", "verity"] {
        let certificate = scratch.keys(&format!("{name}.crt"));
        let mut command = tool("openssl");
        good(
            command
                .args(["verify", "-x509_strict", "-check_ss_sig", "-CAfile"])
                .arg(&certificate)
                .arg(&certificate),
        );
        let public = good(
            tool("openssl")
                .args(["x509", "-noout", "-pubkey", "-in"])
                .arg(&certificate),
        );
        let of_key = good(
            tool("openssl")
                .args(["pkey", "-pubout", "-in"])
                .arg(scratch.keys(&format!("{name}.key"))),
        );
        assert_eq!(public, of_key, "{name}");
    }
}

#[test]
fn encrypted_keys_are_read_by_openssl_and_gnupg_and_theirs_by_us() {
    let dir = tempfile::tempdir().unwrap();
    let set = dir.path().join("keys");
    let new = NewSet {
        profile: KeyProfile::Development,
        name: Some("Example Corp"),
        passphrase: Some(PASSPHRASE),
    };
    let trust = keys::create(&set, &new, crate::fixture::now()).unwrap();
    let plain = dir.path().join("plain.key");
    good(
        tool("openssl")
            .args(["pkey", "-passin", &format!("pass:{PASSPHRASE}"), "-in"])
            .arg(set.join("db.key"))
            .arg("-out")
            .arg(&plain),
    );
    // OpenSSL's own way: PBKDF2.
    let again = set.join("db.key");
    good(
        tool("openssl")
            .args([
                "pkcs8",
                "-topk8",
                "-passout",
                &format!("pass:{PASSPHRASE}"),
                "-in",
            ])
            .arg(&plain)
            .arg("-out")
            .arg(&again),
    );
    let ask = |_: &str| Ok(zeroize::Zeroizing::new(PASSPHRASE.to_owned()));
    FileSigner::open(&trust, Role::Db, &ask).unwrap();

    let home = dir.path().join("gnupg");
    fs::create_dir(&home).unwrap();
    good(tool("chmod").arg("700").arg(&home));
    let gpg = || {
        let mut command = tool("gpg");
        command
            .env("GNUPGHOME", &home)
            .args(["--batch", "--quiet", "--pinentry-mode", "loopback"])
            .args(["--passphrase", PASSPHRASE]);
        command
    };
    good(gpg().arg("--import").arg(set.join("release.key")));
    let content = dir.path().join("SHA256SUMS");
    fs::write(&content, "content\n").unwrap();
    good(gpg().arg("--detach-sign").arg(&content));
    good(
        tool("gpgconf")
            .env("GNUPGHOME", &home)
            .args(["--kill", "all"]),
    );
    let ring = dir.path().join("release.gpg");
    good(
        gpg()
            .args(["--yes", "--output"])
            .arg(&ring)
            .arg("--dearmor")
            .arg(set.join("release.asc")),
    );
    good(
        tool("gpgv")
            .arg("--keyring")
            .arg(&ring)
            .arg(content.with_extension("sig"))
            .arg(&content),
    );
}
