//! Proves a release tree with the public key alone.
//!
//! First the signatures, then every file against the index and the sums, then what the files say of
//! each other. Whatever is found is told, and the check goes on with what can still be believed: what
//! an index says is used only if its signature is good. Everything read is somebody else's: sizes are
//! bounded by the signed ones, and nothing is taken for granted.

mod channel;
mod disk;
mod hashing;
mod payload;

use std::io::Read;
use std::sync::Mutex;

use anyhow::{Context as _, Result};
use rayon::prelude::*;
use serde::Serialize;

use super::index::Index;
use super::names::{KEY, signature_of};
use super::source::{Source, read};
use crate::failure::{Failure, Kind};
use crate::profile;
use crate::report::Progress;
use crate::sign::openpgp::{self, ReleaseKeys};
use crate::stamp::Stamp;

/// More bytes than any file of public keys.
const MAX_KEY: u64 = 1 << 20;

/// Names of channels that are tried where a server can't be asked which there are.
pub const USUAL_CHANNELS: [&str; 5] = ["stable", "lts", "beta", "alpha", "dev"];

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Path in the tree.
    pub file: String,
    /// What is wrong.
    pub problem: String,
}

/// What is to be verified, and by what.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The public keys that are trusted, armoured. Without them those in the tree are, which shows
    /// damage, but no forgery.
    pub key: Option<&'a str>,
    /// The channel; all where there is none.
    pub channel: Option<&'a str>,
    /// Judges the keys' expiry.
    pub now: Stamp,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Everything that is wrong, in order.
    pub findings: Vec<Finding>,
    /// Channels that were looked at.
    pub channels: Vec<String>,
    /// Fingerprints of the keys that were trusted.
    pub keys: Vec<String>,
    /// Releases whose files were compared with each other.
    pub releases: usize,
    /// Files read.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// What the threads of a check share.
struct Check<'a> {
    source: &'a dyn Source,
    keys: &'a ReleaseKeys,
    now: Stamp,
    report: Mutex<Report>,
}

impl<'a> Check<'a> {
    /// The same, but what it finds is not told.
    fn quiet(&self) -> Self {
        Self {
            report: Mutex::default(),
            ..*self
        }
    }

    fn find(&self, file: impl Into<String>, problem: impl Into<String>) {
        let (file, problem) = (file.into(), problem.into());
        if let Ok(mut report) = self.report.lock() {
            report.findings.push(Finding { file, problem });
        }
    }

    fn count(&self, bytes: u64) {
        if let Ok(mut report) = self.report.lock() {
            report.files += 1;
            report.bytes += bytes;
        }
    }

    /// A file to read; what is wrong with it is told.
    fn open(&self, path: &str) -> Option<Box<dyn Read + 'a>> {
        match self.source.open(path) {
            Ok(Some(reader)) => return Some(reader),
            Ok(None) => self.find(path, "it is missing"),
            Err(error) => self.find(path, format!("{error:#}")),
        }
        None
    }

    /// A small file; what is wrong with it is told.
    fn read(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        match read(self.source, path, limit) {
            Ok(Some(bytes)) => {
                self.count(bytes.len() as u64);
                Some(bytes)
            }
            Ok(None) => {
                self.find(path, "it is missing");
                None
            }
            Err(error) => {
                self.find(path, format!("{error:#}"));
                None
            }
        }
    }

    /// A small file whose signature is good.
    fn read_signed(&self, path: &str, limit: u64) -> Option<Vec<u8>> {
        let bytes = self.read(path, limit);
        let signature = self.read(&signature_of(path), openpgp::MAX_SIGNATURE);
        let (bytes, signature) = (bytes?, signature?);
        match self.keys.verify(&bytes, &signature, self.now) {
            Ok(_) => Some(bytes),
            Err(error) => {
                self.find(path, format!("{error:#}"));
                None
            }
        }
    }
}

/// Verifies a tree.
///
/// # Errors
/// There is nothing to verify, or the given key is none; what is wrong with the tree is in the report.
pub fn verify(source: &dyn Source, request: &Request<'_>, progress: &Progress) -> Result<Report> {
    let mut findings = Vec::new();
    let keys = trusted_keys(source, request.key, &mut findings)?;
    let fingerprints = keys.describe()?.into_iter().map(|key| key.fingerprint);
    let check = Check {
        source,
        keys: &keys,
        now: request.now,
        report: Mutex::new(Report {
            findings,
            channels: Vec::new(),
            keys: fingerprints.collect(),
            releases: 0,
            files: 1,
            bytes: 0,
        }),
    };
    let channels = channels(&check, request.channel)?;
    let tasks: Vec<channel::Task> = channels
        .iter()
        .flat_map(|name| channel::plan(&check, name))
        .collect();
    let stage = progress.stage("verify", Some(tasks.iter().map(channel::Task::size).sum()));
    tasks.par_iter().for_each(|task| task.run(&check, &stage));
    drop(stage);
    let mut report = check
        .report
        .into_inner()
        .map_err(|_| anyhow::anyhow!("a thread of the check has failed"))?;
    report.channels = channels;
    report.findings.sort();
    report.findings.dedup();
    Ok(report)
}

/// Reads the index of `channel`, for who only wants to look.
///
/// # Errors
/// There is none, or its signature is not good.
pub fn index(source: &dyn Source, request: &Request<'_>, channel: &str) -> Result<Index> {
    let mut findings = Vec::new();
    let keys = trusted_keys(source, request.key, &mut findings)?;
    let path = format!("{channel}/{}", super::names::INDEX);
    let get = |path: &str, limit| -> Result<Vec<u8>> {
        let bytes = read(source, path, limit).with_context(|| path.to_owned())?;
        bytes.ok_or_else(|| archive(format!("{}/{path} does not exist", source.name())).into())
    };
    let text = get(&path, super::index::MAX_INDEX)?;
    let signature = get(&signature_of(&path), openpgp::MAX_SIGNATURE)?;
    keys.verify(&text, &signature, request.now)
        .and_then(|_| Index::parse(&text))
        .map_err(|error| archive(format!("{}/{path}: {error:#}", source.name())).into())
}

/// The channels that `source` has, or the one that is asked for.
///
/// # Errors
/// It can't be listed, or has none.
pub fn channel_names(source: &dyn Source, wanted: Option<&str>) -> Result<Vec<String>> {
    if let Some(name) = wanted {
        profile::check_channel(name).map_err(|expected| {
            Failure::new(
                Kind::Usage,
                format!("`{name}` is no name of a channel; expected {expected}"),
            )
        })?;
        return Ok(vec![name.to_owned()]);
    }
    // One of the two will do: that the other is missing is a finding, as is what can't be read.
    let has_index = |name: &String| {
        let path = format!("{name}/{}", super::names::INDEX);
        let absent = |path: &str| matches!(source.open(path), Ok(None));
        !(absent(&path) && absent(&signature_of(&path)))
    };
    let listed = source
        .list("")
        .map_err(|error| archive(format!("{}: {error:#}", source.name())))?;
    let names: Vec<String> = match listed {
        Some(names) => names
            .into_iter()
            .filter(|name| profile::check_channel(name).is_ok())
            .filter(has_index)
            .collect(),
        None => USUAL_CHANNELS
            .map(str::to_owned)
            .into_iter()
            .filter(has_index)
            .collect(),
    };
    if names.is_empty() {
        return Err(archive(format!("{} has no channel", source.name()))
            .hint("name the folder or URL that has release.asc; where it is a URL, name the channel with --channel")
            .into());
    }
    Ok(names)
}

fn channels(check: &Check<'_>, wanted: Option<&str>) -> Result<Vec<String>> {
    let names = channel_names(check.source, wanted)?;
    if wanted.is_none()
        && let Ok(Some(listed)) = check.source.list("")
    {
        for name in listed {
            // Work in progress where there is no room beside the tree.
            let expected = name == KEY || names.contains(&name) || name.starts_with(".hullwright-");
            if !expected {
                check.find(name, "nothing signed knows it");
            }
        }
    }
    Ok(names)
}

/// The keys to believe, after a look at those in the tree.
fn trusted_keys(
    source: &dyn Source,
    given: Option<&str>,
    findings: &mut Vec<Finding>,
) -> Result<ReleaseKeys> {
    let mut find = |problem: String| {
        findings.push(Finding {
            file: KEY.into(),
            problem,
        });
    };
    let there = match read(source, KEY, MAX_KEY) {
        Ok(there) => there,
        Err(error) if given.is_some() => {
            find(format!("{error:#}"));
            None
        }
        Err(error) => return Err(archive(format!("{}/{KEY}: {error:#}", source.name())).into()),
    };
    let Some(given) = given else {
        let there = there.ok_or_else(|| {
            archive(format!("{} has no {KEY}", source.name()))
                .hint("name the folder or URL of a release tree; give the key with --key FILE")
        })?;
        return openpgp::canonical(&String::from_utf8_lossy(&there))
            .and_then(|()| ReleaseKeys::parse(&String::from_utf8_lossy(&there)))
            .map_err(|error| archive(format!("{}/{KEY}: {error:#}", source.name())).into());
    };
    let keys = ReleaseKeys::parse(given)
        .map_err(|error| Failure::new(Kind::Keys, format!("the key of --key: {error:#}")))?;
    match there {
        None => find("it is missing".into()),
        Some(there) if there == given.as_bytes() => {}
        // After a rotation the tree has a key more than who verifies, or one less.
        Some(there) => {
            let there = String::from_utf8_lossy(&there);
            let known = openpgp::canonical(&there).and_then(|()| keys.shares_key(&there));
            match known {
                Ok(true) => {}
                Ok(false) => find("it has none of the keys that are trusted".into()),
                Err(error) => find(format!("{error:#}")),
            }
        }
    }
    Ok(keys)
}

fn archive(message: String) -> Failure {
    Failure::new(Kind::Archive, message)
}
