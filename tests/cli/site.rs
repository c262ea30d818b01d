//! A small signed archive, and a profile that trusts it.

use std::fmt::Write as _;
use std::sync::OnceLock;

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails as _, Password, Timestamp};
use rsa::rand_core::OsRng;

use crate::deb::{Deb, deb, gzip};
use crate::home::{Home, sha256};
use crate::server::Server;

/// 2023-11-14: when keys were made.
const BORN: u32 = 1_700_000_000;
/// 2025-01-01 00:00:00 UTC: the `Date` of [`FIELDS`], and when Releases are signed.
pub const DATE: u32 = 1_735_689_600;

/// Releases without `Valid-Until` do not expire, as those of Debian's stable suites do not.
pub const FIELDS: &str = "Suite: stable\nCodename: test\nDate: Wed, 01 Jan 2025 00:00:00 UTC\n";
/// A week later.
pub const LATER: &str = "Suite: stable\nCodename: test\nDate: Wed, 08 Jan 2025 00:00:00 UTC\n";

pub const INDEX: &str = "main/binary-amd64/Packages";
pub const IN_RELEASE: &str = "dists/test/InRelease";

pub struct Key(SignedSecretKey);

impl Key {
    pub fn new() -> Self {
        let key = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(true)
            .created_at(Timestamp::from_secs(BORN))
            .primary_user_id("Test <test@example.org>".into())
            .build()
            .unwrap();
        Self(key.generate(OsRng).unwrap())
    }

    pub fn public(&self) -> Vec<u8> {
        self.0.to_public_key().to_bytes().unwrap()
    }

    pub fn sign(&self, text: &str) -> String {
        let key = &self.0.primary_key;
        let mut config =
            SignatureConfig::v4(SignatureType::Text, key.algorithm(), HashAlgorithm::Sha512);
        config.hashed_subpackets = [
            SubpacketData::SignatureCreationTime(Timestamp::from_secs(DATE)),
            SubpacketData::IssuerFingerprint(key.fingerprint()),
        ]
        .map(|data| Subpacket::regular(data).unwrap())
        .to_vec();
        CleartextSignedMessage::new(text, config, key, &Password::empty())
            .unwrap()
            .to_armored_string(ArmorOptions::default())
            .unwrap()
    }
}

pub struct Site {
    pub server: Server,
    pub key: &'static Key,
}

/// `alpha` wants `beta`; `linux` stands for a kernel.
pub fn packages() -> Vec<Deb> {
    vec![
        deb("alpha", "1.0-1", "Depends: beta (>= 1.0)\n"),
        deb("beta", "1.0-1", "").with("./usr/share/doc/more", None, b"b"),
        deb("linux", "6.1-1", "").with("./boot/vmlinuz", None, b"kernel"),
    ]
}

impl Site {
    /// An archive with [`packages`].
    pub fn new() -> Self {
        static KEY: OnceLock<Key> = OnceLock::new();
        let site = Self {
            server: Server::start(),
            key: KEY.get_or_init(Key::new),
        };
        site.publish(FIELDS, &packages());
        site
    }

    /// A user with the profile `p.yaml` for this archive.
    pub fn home(&self) -> Home {
        let home = Home::new();
        home.write("test.pgp", self.key.public());
        home.write("p.yaml", self.profile(""));
        home
    }

    /// The profile, with more lines at its end.
    pub fn profile(&self, more: &str) -> String {
        profile(&self.server.url, more)
    }

    pub fn publish(&self, fields: &str, debs: &[Deb]) {
        self.publish_all(fields, &[("amd64", debs)]);
    }

    /// An index for each architecture.
    pub fn publish_all(&self, fields: &str, architectures: &[(&str, &[Deb])]) {
        let mut files = Vec::new();
        for (architecture, debs) in architectures {
            for deb in *debs {
                self.server.put(&deb.path(), deb.bytes());
            }
            let plain = index(debs);
            let packed = gzip(plain.as_bytes());
            let path = INDEX.replace("amd64", architecture);
            let gz = format!("{path}.gz");
            self.server.put(&format!("dists/test/{gz}"), packed.clone());
            files.push((path, sha256(plain.as_bytes()), plain.len() as u64));
            files.push((gz, sha256(&packed), packed.len() as u64));
        }
        let files: Vec<_> = files
            .iter()
            .map(|(path, hash, size)| (path.as_str(), hash.clone(), *size))
            .collect();
        self.release(fields, &files);
    }

    /// Signs and serves a Release that lists files by path, hash and size.
    pub fn release(&self, fields: &str, files: &[(&str, String, u64)]) {
        self.server
            .put(IN_RELEASE, self.key.sign(&release(fields, files)));
    }
}

pub fn profile(url: &str, more: &str) -> String {
    format!(
        "os: {{id: t, name: Test, version: \"1\"}}\nkernel: {{package: linux}}\narchives:\n- name: vendor\n  \
         url: {url}\n  suites: [test]\n  keyring: ./test.pgp\n{more}packages:\n  include: [alpha]\n"
    )
}

pub fn release(fields: &str, files: &[(&str, String, u64)]) -> String {
    let mut text = format!("{fields}SHA256:\n");
    for (path, sha256, size) in files {
        writeln!(text, " {sha256} {size} {path}").unwrap();
    }
    text
}

pub fn index(debs: &[Deb]) -> String {
    let mut text = String::new();
    for deb in debs {
        let bytes = deb.bytes();
        writeln!(
            text,
            "{}Filename: {}\nSize: {}\nSHA256: {}\n",
            deb.control(),
            deb.path(),
            bytes.len(),
            sha256(&bytes)
        )
        .unwrap();
    }
    text
}
