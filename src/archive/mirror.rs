//! Which base URL a suite is fetched from.
//!
//! For Debian's own archives: the flag, then `HULLWRIGHT_MIRROR`, then the profile, then the host's
//! apt sources, then a built-in default. An archive of someone else's that has a URL in the profile
//! is always fetched from there.

use super::apt::AptEntry;
use super::trust::DEBIAN;
use crate::profile::schema::{ArchiveSource, MirrorTree};

const DEFAULT: &str = "http://ftp.debian.org/debian";
const DEFAULT_SECURITY: &str = "http://security.debian.org/debian-security";
const SNAPSHOT: &str = "http://snapshot.debian.org/archive/debian/{timestamp}/{path}";
const SNAPSHOT_SECURITY: &str =
    "http://snapshot.debian.org/archive/debian-security/{timestamp}/{path}";

/// What is known about mirrors, from outside.
#[derive(Debug, Clone, Default)]
pub struct Mirrors {
    /// `--mirror`: a URL, or two with a comma between: Debian's and the security tree's.
    pub flag: Option<String>,
    /// `HULLWRIGHT_MIRROR`, in the same form.
    pub environment: Option<String>,
    /// The host's apt sources, as [`apt::read`](super::apt::read) gives them.
    pub apt: Vec<AptEntry>,
}

/// A base URL and who named it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Without a slash at the end.
    pub url: String,
    /// For messages.
    pub named_by: &'static str,
}

impl Mirrors {
    /// The base URL for an archive of a profile.
    #[must_use]
    pub fn base(&self, source: &ArchiveSource) -> Base {
        let profile = source.url.as_deref().map(|url| base(url, "the profile"));
        if source.keyring != DEBIAN
            && let Some(profile) = profile
        {
            return profile;
        }
        let tree = source.tree;
        let given = |value: &Option<String>| value.as_deref().and_then(|v| pair(v, tree));
        given(&self.flag)
            .map(|url| base(&url, "--mirror"))
            .or_else(|| given(&self.environment).map(|url| base(&url, "HULLWRIGHT_MIRROR")))
            .or(profile)
            .or_else(|| {
                from_apt(&self.apt, tree).map(|url| base(&url, "this machine's apt sources"))
            })
            .unwrap_or_else(|| match tree {
                MirrorTree::Debian => base(DEFAULT, "the built-in default"),
                MirrorTree::DebianSecurity => base(DEFAULT_SECURITY, "the built-in default"),
            })
    }
}

/// The URL of a superseded file at a snapshot service: the profile's template or Debian's own.
#[must_use]
pub fn snapshot(source: &ArchiveSource, timestamp: &str, path: &str) -> Option<String> {
    let template = match (&source.snapshot, source.tree) {
        (Some(template), _) => template.as_str(),
        (None, _) if source.keyring != DEBIAN => return None,
        (None, MirrorTree::Debian) => SNAPSHOT,
        (None, MirrorTree::DebianSecurity) => SNAPSHOT_SECURITY,
    };
    Some(
        template
            .replace("{timestamp}", timestamp)
            .replace("{path}", &encode(path)),
    )
}

/// A path below a base URL, with what RFC 3986 does not allow in paths percent-encoded.
#[must_use]
pub fn join(base: &str, path: &str) -> String {
    format!("{}/{}", base.trim_end_matches('/'), encode(path))
}

fn encode(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn base(url: &str, named_by: &'static str) -> Base {
    Base {
        url: url.trim_end_matches('/').to_owned(),
        named_by,
    }
}

fn pair(value: &str, tree: MirrorTree) -> Option<String> {
    let mut urls = value
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty());
    let first = urls.next()?;
    Some(match tree {
        MirrorTree::Debian => first.to_owned(),
        MirrorTree::DebianSecurity => match urls.next() {
            Some(second) => second.to_owned(),
            None => sibling(first),
        },
    })
}

/// `…/debian` to `…/debian-security`.
fn sibling(url: &str) -> String {
    let url = url.trim_end_matches('/');
    match url.rsplit_once('/') {
        Some((parent, _)) if !parent.ends_with('/') => format!("{parent}/debian-security"),
        _ => format!("{url}/debian-security"),
    }
}

fn last_part(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

fn from_apt(entries: &[AptEntry], tree: MirrorTree) -> Option<String> {
    let usable = |entry: &&AptEntry| {
        ["http://", "https://", "file:"]
            .iter()
            .any(|s| entry.url.starts_with(s))
            && entry.components.iter().any(|c| c == "main")
    };
    let debian = entries
        .iter()
        .filter(usable)
        .find(|entry| last_part(&entry.url) == "debian" && is_debian(entry, entries));
    let security = entries.iter().filter(usable).find(|entry| {
        last_part(&entry.url) == "debian-security"
            && entry.suites.iter().any(|s| s.ends_with("-security"))
    });
    match tree {
        MirrorTree::Debian => debian.map(|entry| entry.url.clone()),
        MirrorTree::DebianSecurity => security
            .map(|entry| entry.url.clone())
            .or_else(|| debian.map(|entry| sibling(&entry.url))),
    }
}

/// Other vendors also have archives whose path ends in `debian`: Debian's are told by their keyring,
/// by a path that is nothing else, or by an `-updates` suite at the same place.
fn is_debian(entry: &AptEntry, entries: &[AptEntry]) -> bool {
    let path = entry
        .url
        .split_once("://")
        .and_then(|(_, rest)| rest.split_once('/'))
        .map(|(_, path)| path);
    entry.signed_by.ends_with("debian-archive-keyring.gpg")
        || entry.signed_by.ends_with("debian-archive-keyring.pgp")
        || path == Some("debian")
        || entries.iter().any(|other| {
            other.url == entry.url && other.suites.iter().any(|s| s.ends_with("-updates"))
        })
}

#[cfg(test)]
mod tests {
    use super::super::apt;
    use super::*;

    fn source(tree: MirrorTree, url: Option<&str>, keyring: &str) -> ArchiveSource {
        ArchiveSource {
            name: "a".into(),
            url: url.map(str::to_owned),
            tree,
            suites: vec!["trixie".into()],
            components: vec!["main".into()],
            keyring: keyring.into(),
            fingerprints: Vec::new(),
            pocket: true,
            priority: 500,
            only: Vec::new(),
            snapshot: None,
        }
    }

    const LIST: &str = "# deb http://old.example/debian trixie main\n\
        deb https://download.vendor.example/linux/debian trixie stable\n\
        deb [arch=amd64 signed-by=/k.gpg] https://apt.vendor.example/debian-tools x main\n\
        deb-src http://near.example/debian trixie main\n\
        deb http://near.example/debian/ trixie main contrib # near\n";
    const SOURCES: &str = "Types: deb deb-src\nURIs: http://near.example/pub/debian/\n\
        Suites: trixie trixie-updates\n# a comment\nComponents: main\n\
        Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n\n\
        Types: deb\nURIs: http://sec.example/debian-security\nSuites: trixie-security\n\
        Components:\n main\n\nEnabled: no\nTypes: deb\nURIs: http://off.example/debian\n\
        Suites: trixie\nComponents: main\n";

    #[test]
    fn the_nearest_source_wins() {
        use MirrorTree::{Debian, DebianSecurity};
        let url =
            |mirrors: &Mirrors, tree, profile| mirrors.base(&source(tree, profile, "debian")).url;
        let mut mirrors = Mirrors::default();
        assert_eq!(url(&mirrors, Debian, None), DEFAULT);
        assert_eq!(url(&mirrors, DebianSecurity, None), DEFAULT_SECURITY);
        mirrors.apt = apt::one_line(LIST);
        assert_eq!(url(&mirrors, Debian, None), "http://near.example/debian");
        assert_eq!(
            url(&mirrors, DebianSecurity, None),
            "http://near.example/debian-security"
        );
        mirrors.apt = apt::deb822(SOURCES);
        assert_eq!(mirrors.apt.len(), 2);
        assert_eq!(
            url(&mirrors, Debian, None),
            "http://near.example/pub/debian"
        );
        assert_eq!(
            url(&mirrors, DebianSecurity, None),
            "http://sec.example/debian-security"
        );
        assert_eq!(url(&mirrors, Debian, Some("http://p/d/")), "http://p/d");
        mirrors.environment = Some("http://e/debian/".into());
        assert_eq!(url(&mirrors, Debian, Some("http://p/d")), "http://e/debian");
        assert_eq!(
            url(&mirrors, DebianSecurity, None),
            "http://e/debian-security"
        );
        mirrors.flag = Some("http://f/debian, http://s/sec".into());
        assert_eq!(url(&mirrors, Debian, None), "http://f/debian");
        assert_eq!(url(&mirrors, DebianSecurity, None), "http://s/sec");
        let vendor = source(Debian, Some("http://vendor/x"), "keys/vendor.asc");
        assert_eq!(mirrors.base(&vendor).url, "http://vendor/x");
    }

    #[test]
    fn a_machine_without_debian_sources_gets_the_default() {
        let mirrors = Mirrors {
            apt: apt::one_line("deb http://archive.example/ubuntu noble main\n"),
            ..Mirrors::default()
        };
        assert_eq!(
            mirrors
                .base(&source(MirrorTree::Debian, None, "debian"))
                .url,
            DEFAULT
        );
    }

    #[test]
    fn paths_are_encoded_and_snapshots_dated() {
        assert_eq!(
            join("http://m/d/", "pool/a_1%3a2+b~c d"),
            "http://m/d/pool/a_1%253a2+b~c%20d"
        );
        let debian = source(MirrorTree::Debian, None, "debian");
        assert_eq!(
            snapshot(&debian, "20260912T075541Z", "pool/x.deb").unwrap(),
            "http://snapshot.debian.org/archive/debian/20260912T075541Z/pool/x.deb"
        );
        assert_eq!(
            snapshot(&source(MirrorTree::Debian, None, "v.asc"), "t", "p"),
            None
        );
    }
}
