//! What the profile asks for.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::archive::Record;
use crate::failure::{Failure, Kind};
use crate::profile::Profile;

/// A package asked for, with the profile's key that asks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Request {
    /// Package name, real or virtual.
    pub name: String,
    /// `packages.include`, `packages.files` or `kernel.package`.
    pub key: &'static str,
}

/// What a pin leaves of the candidates of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// `name=version`
    Version(String),
    /// `name/archive`: the name of an archive of the profile, or of a suite.
    Archive(String),
    /// A local file: nothing else.
    Local,
}

/// The profile's wishes in the form that the solver takes.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Sorted by name.
    pub requests: Vec<Request>,
    /// By package name.
    pub pins: BTreeMap<String, Pin>,
    /// Packages that must not be installed.
    pub excluded: BTreeSet<String>,
    /// Whether `Recommends` are followed.
    pub recommends: bool,
}

impl Wishes {
    /// Reads `packages` and `kernel.package` of a profile; every local `.deb` is asked for.
    pub fn of(profile: &Profile, local: &[Record]) -> Result<Self> {
        let mut requests = BTreeSet::new();
        let mut pins = BTreeMap::new();
        for entry in &profile.packages.include {
            let (name, pin) = split(entry)?;
            if let Some(pin) = pin
                && let Some(other) = pins.insert(name.to_owned(), pin.clone())
                && other != pin
            {
                return Err(Failure::new(
                    Kind::Usage,
                    format!("packages.include pins {name} in two ways"),
                )
                .hint(format!("leave one of the entries that begin with `{name}`"))
                .into());
            }
            requests.insert(Request {
                name: name.to_owned(),
                key: "packages.include",
            });
        }
        let kernel = profile
            .kernel
            .package
            .replace("{arch}", profile.arch.traits().debian);
        if !kernel.is_empty() {
            let (name, pin) = split(&kernel)?;
            if let Some(pin) = pin {
                pins.insert(name.to_owned(), pin);
            }
            requests.insert(Request {
                name: name.to_owned(),
                key: "kernel.package",
            });
        }
        for record in local {
            pins.insert(record.name.clone(), Pin::Local);
            requests.insert(Request {
                name: record.name.clone(),
                key: "packages.files",
            });
        }
        Ok(Self {
            requests: requests.into_iter().collect(),
            pins,
            excluded: profile.packages.exclude.iter().cloned().collect(),
            recommends: profile.packages.recommends,
        })
    }
}

/// `name`, `name=version` or `name/archive`.
fn split(entry: &str) -> Result<(&str, Option<Pin>)> {
    let (name, pin) = if let Some((name, version)) = entry.split_once('=') {
        (name, Some((version, Pin::Version(version.to_owned()))))
    } else if let Some((name, archive)) = entry.split_once('/') {
        (name, Some((archive, Pin::Archive(archive.to_owned()))))
    } else {
        (entry, None)
    };
    let named = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !named || pin.as_ref().is_some_and(|(text, _)| text.is_empty()) {
        return Err(Failure::new(
            Kind::Usage,
            format!("`{entry}` in packages.include is not a package"),
        )
        .hint("write `name`, `name=version` or `name/archive`")
        .into());
    }
    Ok((name, pin.map(|(_, pin)| pin)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_split_into_name_and_pin() {
        assert_eq!(split("bash").unwrap(), ("bash", None));
        assert_eq!(
            split("bash=5.2-1").unwrap(),
            ("bash", Some(Pin::Version("5.2-1".into())))
        );
        assert_eq!(
            split("runc/bpo").unwrap(),
            ("runc", Some(Pin::Archive("bpo".into())))
        );
        for bad in ["", "=1", "bash=", "bash/", "a b", "bash:amd64", "libs*"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
