//! Which line of the profile led to which package.

use std::collections::BTreeMap;

use crate::profile::{Line, Loaded};
use crate::resolve::Lock;

/// How the packages of a lock came in.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    packages: BTreeMap<String, Wanted>,
    overlays: BTreeMap<String, Line>,
}

/// Why one package is there.
#[derive(Debug, Clone)]
struct Wanted {
    version: String,
    /// The package that wants it, and by which relation; absent where the profile does.
    by: Option<(String, String)>,
    /// The line of the profile that asks for it.
    line: Option<Line>,
}

impl Lines {
    /// Those of `lock`, which was made for `loaded`.
    #[must_use]
    pub fn of(loaded: &Loaded, lock: &Lock) -> Self {
        let packages = lock.packages.iter().map(|package| {
            let by = package.why.split_once(' ');
            let line = by.is_none().then(|| {
                let by_name = loaded.line_of_package(&package.name);
                by_name.or_else(|| loaded.line_of_file(&package.path))
            });
            let wanted = Wanted {
                version: package.version.clone(),
                by: by.map(|(by, relation)| (by.to_owned(), relation.to_owned())),
                line: line.flatten(),
            };
            (package.name.clone(), wanted)
        });
        let overlays = loaded.profile.root.overlay.iter().filter_map(|path| {
            let path = path.to_string_lossy().into_owned();
            let line = loaded.line_of_overlay(&path)?;
            Some((path, line))
        });
        Self {
            packages: packages.collect(),
            overlays: overlays.collect(),
        }
    }

    /// The names of all packages.
    pub fn packages(&self) -> impl Iterator<Item = &str> {
        self.packages.keys().map(String::as_str)
    }

    /// The version of a package.
    #[must_use]
    pub fn version(&self, package: &str) -> Option<&str> {
        Some(&self.packages.get(package)?.version)
    }

    /// The package that wants `package`, and by which relation; none for what the profile asks for.
    #[must_use]
    pub fn by(&self, package: &str) -> Option<(&str, &str)> {
        let (by, relation) = self.packages.get(package)?.by.as_ref()?;
        Some((by, relation))
    }

    /// The line that asks for `package` itself.
    #[must_use]
    pub fn line(&self, package: &str) -> Option<&Line> {
        self.packages.get(package)?.line.as_ref()
    }

    /// The line that names an overlay.
    #[must_use]
    pub fn overlay(&self, path: &str) -> Option<&Line> {
        self.overlays.get(path)
    }

    /// What the profile asks for that led to `package`, down to the package itself.
    #[must_use]
    pub fn chain(&self, package: &str) -> Vec<&str> {
        let mut chain = Vec::new();
        let mut next = self.packages.get_key_value(package);
        // A lock that goes in a circle is not ours, but must not hang either.
        while let Some((name, wanted)) = next.filter(|_| chain.len() <= self.packages.len()) {
            chain.push(name.as_str());
            next = wanted
                .by
                .as_ref()
                .and_then(|(by, _)| self.packages.get_key_value(by));
        }
        chain.reverse();
        chain
    }
}

#[cfg(test)]
impl Lines {
    /// Packages, each with who wants it.
    pub(super) fn for_tests(packages: &[(&str, Option<&str>)]) -> Self {
        let wanted = |by: Option<&str>| Wanted {
            version: "1".into(),
            by: by.map(|by| (by.to_owned(), "Depends: it".to_owned())),
            line: by.is_none().then(|| Line {
                key: "packages.include",
                value: "it".into(),
                place: "p.yaml:3".into(),
            }),
        };
        Self {
            packages: packages
                .iter()
                .map(|&(name, by)| (name.to_owned(), wanted(by)))
                .collect(),
            overlays: BTreeMap::new(),
        }
    }
}
