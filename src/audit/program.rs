//! Programs that configuration names.

use super::Subject;

/// Where systemd looks for programs without a path (systemd.service(5), "Command lines").
const SEARCHED: [&str; 4] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin"];

/// Below these the image decides what is there; elsewhere the running system does.
const IMAGE: [&str; 7] = [
    "/usr/", "/etc/", "/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/",
];

/// Whether a program can be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It can.
    Yes,
    /// The image does not have it.
    Missing,
    /// Something is there, but no executable file.
    NotExecutable,
    /// Where it is said to be, the running system decides.
    Unknown,
}

impl Found {
    /// What to say about it; nothing where all is well, or nobody can know.
    #[must_use]
    pub const fn complaint(self) -> Option<&'static str> {
        match self {
            Self::Missing => Some("which the image does not have"),
            Self::NotExecutable => Some("which is not an executable file"),
            Self::Yes | Self::Unknown => None,
        }
    }
}

/// Whether `path` is one that the image decides about, and has no specifier.
#[must_use]
pub fn is_in_image(path: &str) -> bool {
    !path.contains('%') && IMAGE.iter().any(|place| path.starts_with(place))
}

/// Looks for `name`, which is an absolute path or a bare name.
#[must_use]
pub fn find(subject: &Subject<'_>, name: &str) -> Found {
    if name.starts_with('/') {
        return at(subject, name);
    }
    if name.is_empty() || name.contains(['/', '%', '$']) {
        return Found::Unknown;
    }
    let places = SEARCHED
        .iter()
        .map(|dir| at(subject, &format!("{dir}/{name}")));
    // A file that can't be executed is passed over.
    places
        .into_iter()
        .find(|found| *found == Found::Yes)
        .unwrap_or(Found::Missing)
}

fn at(subject: &Subject<'_>, path: &str) -> Found {
    if !is_in_image(path) || path.contains('$') {
        return Found::Unknown;
    }
    match subject.find(path) {
        None => Found::Missing,
        Some((_, node)) if node.content().is_some() && node.meta.mode & 0o111 != 0 => Found::Yes,
        Some(_) => Found::NotExecutable,
    }
}
