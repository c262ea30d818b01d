//! For tests: an HTTP server, OpenPGP keys, and a small archive signed with them.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pgp::composed::{
    CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey, SubkeyParamsBuilder,
};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{SignatureConfig, SignatureType, Subpacket, SubpacketData};
use pgp::ser::Serialize as _;
use pgp::types::{KeyDetails as _, Password, SigningKey, Timestamp};
use rsa::rand_core::OsRng;

use super::{Context, Mirrors};
use crate::digest::Sha256;
use crate::profile::Profile;
use crate::resolve::Lock;
use crate::resolve::lock::{LockedPackage, LockedSuite};
use crate::store::Store;

/// 2026-11-22 00:00:00 UTC.
pub const NOW: u64 = 1_795_305_600;
/// When test keys were made.
pub const BORN: u64 = 1_700_000_000;

/// What the server answers to a path.
#[derive(Clone, Default)]
pub struct Reply {
    pub body: Vec<u8>,
    /// Answer 500 so often before.
    pub errors: usize,
    /// Cut the connection after half of the rest so often before.
    pub cuts: usize,
    /// Declare another length.
    pub declared: Option<u64>,
    /// Version in the ETag.
    pub version: u32,
}

#[derive(Default)]
struct Shared {
    replies: Mutex<BTreeMap<String, Reply>>,
    log: Mutex<Vec<String>>,
}

/// A server on a loopback port; lives as long as the process.
#[derive(Clone)]
pub struct Server {
    pub url: String,
    shared: Arc<Shared>,
}

impl Server {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared::default());
        let serving = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = serving.clone();
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { url, shared }
    }

    pub fn put(&self, path: &str, body: impl Into<Vec<u8>>) {
        let body = body.into();
        self.set(
            path,
            Reply {
                body,
                ..Reply::default()
            },
        );
    }

    pub fn set(&self, path: &str, reply: Reply) {
        self.shared
            .replies
            .lock()
            .unwrap()
            .insert(path.into(), reply);
    }

    pub fn remove(&self, path: &str) {
        self.shared.replies.lock().unwrap().remove(path);
    }

    pub fn change(&self, path: &str, how: impl FnOnce(&mut Reply)) {
        how(self.shared.replies.lock().unwrap().get_mut(path).unwrap());
    }

    pub fn paths(&self) -> Vec<String> {
        self.shared
            .replies
            .lock()
            .unwrap()
            .keys()
            .cloned()
            .collect()
    }

    /// Requests so far: `PATH` or `PATH RANGE`.
    pub fn log(&self) -> Vec<String> {
        self.shared.log.lock().unwrap().clone()
    }
}

fn answer(mut stream: TcpStream, shared: &Shared) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
    let mut next = || lines.next().and_then(Result::ok).unwrap_or_default();
    let request = next();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut range = None;
    let mut if_range = String::new();
    loop {
        let line = next().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(from) = line.strip_prefix("range: bytes=") {
            range = from.trim_end_matches('-').parse::<usize>().ok();
        }
        if let Some(tag) = line.strip_prefix("if-range: ") {
            if_range = tag.to_owned();
        }
    }
    let entry = match range {
        Some(from) => format!("{path} {from}-"),
        None => path.clone(),
    };
    shared.log.lock().unwrap().push(entry);
    let mut replies = shared.replies.lock().unwrap();
    let Some(reply) = replies.get_mut(&path) else {
        let _ = stream
            .write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    };
    if reply.errors > 0 {
        reply.errors -= 1;
        let _ = stream
            .write_all(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    let tag = format!("\"v{}\"", reply.version);
    let range = range.filter(|_| if_range.is_empty() || if_range == tag);
    let from = range.unwrap_or(0).min(reply.body.len());
    let mut rest = &reply.body[from..];
    let status = match range {
        Some(_) => format!(
            "206 Partial Content\r\nContent-Range: bytes {from}-{}/{}",
            reply.body.len(),
            reply.body.len()
        ),
        None => "200 OK".into(),
    };
    let length = reply.declared.unwrap_or(rest.len() as u64);
    if reply.cuts > 0 {
        reply.cuts -= 1;
        rest = &rest[..rest.len() / 2];
    }
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nETag: {tag}\r\nConnection: close\r\n\r\n"
    );
    let body = rest.to_vec();
    drop(replies);
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.write_all(&body);
    let _ = stream.flush();
    let _ = stream.shutdown(Shutdown::Both);
}

/// A certificate with a signing primary key and a signing subkey.
pub struct TestKey(pub SignedSecretKey);

impl TestKey {
    pub fn new() -> Self {
        Self::with(true)
    }

    pub fn with(can_sign: bool) -> Self {
        let born = Timestamp::from_secs(BORN as u32);
        let subkey = SubkeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .created_at(born)
            .build()
            .unwrap();
        let key = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_certify(true)
            .can_sign(can_sign)
            .created_at(born)
            .primary_user_id("Test <test@example.org>".into())
            .subkeys(vec![subkey])
            .build()
            .unwrap()
            .generate(OsRng)
            .unwrap();
        Self(key)
    }

    pub fn public(&self) -> Vec<u8> {
        self.0.to_public_key().to_bytes().unwrap()
    }

    pub fn fingerprint(&self) -> String {
        crate::digest::hex(self.0.primary_key.fingerprint().as_bytes())
    }

    /// Clear-signs with the primary key.
    pub fn sign(&self, text: &str) -> String {
        clear_sign(text, &self.0.primary_key, HashAlgorithm::Sha512, NOW - 100)
    }
}

pub fn clear_sign(text: &str, key: &impl SigningKey, hash: HashAlgorithm, made: u64) -> String {
    let mut config = SignatureConfig::v4(SignatureType::Text, key.algorithm(), hash);
    config.hashed_subpackets = vec![
        Subpacket::regular(SubpacketData::SignatureCreationTime(Timestamp::from_secs(
            made as u32,
        )))
        .unwrap(),
        Subpacket::regular(SubpacketData::IssuerFingerprint(key.fingerprint())).unwrap(),
    ];
    CleartextSignedMessage::new(text, config, key, &Password::empty())
        .unwrap()
        .to_armored_string(pgp::composed::ArmorOptions::default())
        .unwrap()
}

/// An archive with one suite `test` and three packages, on a server, with a profile that trusts it.
pub struct Site {
    pub server: Server,
    pub key: TestKey,
    pub profile: Profile,
    pub keyrings: super::Keyrings,
    pub dir: tempfile::TempDir,
    pub ctx: Context,
}

pub const NAMES: [&str; 3] = ["alpha", "beta", "gamma"];

pub fn deb(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(300_000).collect()
}

pub fn pool(name: &str) -> String {
    format!("pool/main/{name}_1.0-1_amd64.deb")
}

pub fn packages() -> String {
    let stanza = |name: &&str| {
        let deb = deb(name);
        format!(
            "Package: {name}\nVersion: 1.0-1\nArchitecture: amd64\nDepends: libc6\nFilename: {}\n\
             Size: {}\nSHA256: {}\n\n",
            pool(name),
            deb.len(),
            Sha256::of(&deb)
        )
    };
    NAMES.iter().map(stanza).collect()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

pub const INDEX: &str = "main/binary-amd64/Packages";

/// A Release that lists the given index files.
pub fn release(fields: &str, files: &[(&str, &[u8])]) -> String {
    let lines: Vec<String> = files
        .iter()
        .map(|(path, bytes)| format!(" {} {} {path}", Sha256::of(bytes), bytes.len()))
        .collect();
    format!(
        "{fields}Acquire-By-Hash: yes\nSHA256:\n{}",
        lines.join("\n")
    )
}

pub const FIELDS: &str = "Suite: stable\nCodename: test\nDate: Sat, 21 Nov 2026 00:00:00 UTC\n\
    Valid-Until: Sat, 28 Nov 2026 00:00:00 UTC\n";

impl Site {
    pub fn new() -> Self {
        let server = Server::start();
        let key = TestKey::new();
        let dir = tempfile::tempdir().unwrap();
        let profile: Profile = serde_json::from_value(serde_json::json!({
            "name": "p",
            "os": {"id": "t", "name": "t", "version": "1"},
            "kernel": {"package": "linux"},
            "archives": [{
                "name": "vendor",
                "url": server.url,
                "suites": ["test"],
                "keyring": "vendor.pgp",
                "snapshot": format!("{}/snapshot/{{timestamp}}/{{path}}", server.url),
            }],
        }))
        .unwrap();
        let keyrings = [("vendor.pgp".to_owned(), key.public())].into();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        let mut ctx = Context::new(store, Mirrors::default(), NOW);
        ctx.proxies = false;
        ctx.retry_pause = Duration::from_millis(1);
        let site = Self {
            server,
            key,
            profile,
            keyrings,
            dir,
            ctx,
        };
        let plain = packages();
        let packed = gzip(plain.as_bytes());
        site.publish(
            FIELDS,
            &[
                (INDEX, plain.as_bytes()),
                ("main/binary-amd64/Packages.gz", &packed),
            ],
        );
        for name in NAMES {
            site.server.put(&format!("/{}", pool(name)), deb(name));
        }
        site
    }

    /// Signs and serves a Release; the compressed indices it lists only by their hash.
    pub fn publish(&self, fields: &str, files: &[(&str, &[u8])]) {
        let signed = self.key.sign(&release(fields, files));
        self.server.put("/dists/test/InRelease", signed);
        for (path, bytes) in files.iter().filter(|(path, _)| path.ends_with(".gz")) {
            let folder = path.rsplit_once('/').unwrap().0;
            let url = format!("/dists/test/{folder}/by-hash/SHA256/{}", Sha256::of(bytes));
            self.server.put(&url, *bytes);
        }
    }

    pub fn by_hash(&self) -> String {
        let paths = self.server.paths();
        paths
            .into_iter()
            .find(|path| path.contains("/by-hash/"))
            .unwrap()
    }

    pub fn lock(&self) -> Lock {
        let package = |name: &&str| {
            let deb = deb(name);
            LockedPackage {
                name: (*name).into(),
                version: "1.0-1".into(),
                architecture: "amd64".into(),
                archive: "vendor".into(),
                suite: "test".into(),
                path: pool(name),
                size: deb.len() as u64,
                sha256: Sha256::of(&deb),
                why: "profile".into(),
            }
        };
        Lock {
            lock: 1,
            profile: "p".into(),
            arch: crate::arch::Arch::X86_64,
            profile_hash: Sha256::of(b""),
            tool: "0".into(),
            codecs: BTreeMap::new(),
            stamp: crate::stamp::Stamp::from_seconds(0),
            allow_expired: false,
            suites: vec![LockedSuite {
                archive: "vendor".into(),
                name: "test".into(),
                date: NOW - 86_400,
                inrelease: Sha256::of(b""),
            }],
            artefacts: Vec::new(),
            packages: NAMES.iter().map(package).collect(),
            files: BTreeMap::new(),
            ids: BTreeMap::new(),
        }
    }

    /// Files in the cache's `downloads`, which must all be verified.
    pub fn kept(&self) -> usize {
        let mut count = 0;
        for shard in std::fs::read_dir(self.ctx.store.folder("downloads")).unwrap() {
            for file in std::fs::read_dir(shard.unwrap().path()).unwrap() {
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_str().unwrap().to_owned();
                assert_eq!(crate::store::hash_file(&path).unwrap().to_string(), name);
                count += 1;
            }
        }
        count
    }

    /// Names in `partial` and `tmp`, without the lock.
    pub fn left_behind(&self) -> Vec<String> {
        ["partial", "tmp"]
            .iter()
            .flat_map(|folder| std::fs::read_dir(self.ctx.store.folder(folder)).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != ".lock")
            .collect()
    }
}

/// An error with its hints, as a person would see it.
pub fn shown(error: &anyhow::Error) -> String {
    let hints = crate::failure::failure_of(error).map_or(&[][..], |f| &f.hints);
    format!("{error:#}\n{}", hints.join("\n"))
}
