//! Facts as files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{Facts, Summary, files};
use crate::digest::Sha256;
use crate::failure::{Failure, Kind};

/// Name of the file that names the others.
pub const FACTS: &str = "facts.json";
/// Name of the list of files.
pub const FILES: &str = "files.txt";
/// Name of the kernel's configuration.
pub const KERNEL_CONFIG: &str = "kernel-config";

/// Version of this format.
const VERSION: u32 = 1;

/// `facts.json`.
#[derive(Serialize, Deserialize)]
struct Document {
    /// [`VERSION`].
    facts: u32,
    /// Hash of `files.txt`.
    files: Sha256,
    /// Hash of `kernel-config`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kernel_config: Option<Sha256>,
    #[serde(flatten)]
    summary: Summary,
}

/// The one key that every version of the format has.
#[derive(Deserialize)]
struct Major {
    facts: u32,
}

impl Facts {
    /// The files' names and bytes: `facts.json`, `files.txt`, and `kernel-config` where there is one.
    ///
    /// # Errors
    /// None that facts can cause.
    pub fn to_files(&self) -> Result<Vec<(&'static str, Vec<u8>)>> {
        let list = files::to_text(&self.files).into_bytes();
        let document = Document {
            facts: VERSION,
            files: Sha256::of(&list),
            kernel_config: self.kernel_config.as_deref().map(Sha256::of),
            summary: self.summary.clone(),
        };
        let mut text = serde_json::to_string_pretty(&document).context("writing the facts")?;
        text.push('\n');
        let mut out = vec![(FACTS, text.into_bytes()), (FILES, list)];
        if let Some(config) = &self.kernel_config {
            out.push((KERNEL_CONFIG, config.clone()));
        }
        Ok(out)
    }

    /// Writes the files into `folder`, each name behind `prefix` (`ID_VERSION.` in a release).
    ///
    /// # Errors
    /// The folder is not writable.
    pub fn write(&self, folder: &Path, prefix: &str) -> Result<()> {
        for (name, bytes) in self.to_files()? {
            let path = folder.join(format!("{prefix}{name}"));
            fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
        }
        Ok(())
    }

    /// Reads what [`Self::write`] has written.
    ///
    /// # Errors
    /// A file is missing, damaged, or of another version.
    pub fn read(folder: &Path, prefix: &str) -> Result<Self> {
        let path = |name: &str| folder.join(format!("{prefix}{name}"));
        let facts = path(FACTS);
        let text = read(&facts)?;
        let malformed = |error: serde_json::Error| {
            let message = format!("{} has no facts: {error}", facts.display());
            Failure::new(Kind::Usage, message)
        };
        let major: Major = serde_json::from_slice(&text).map_err(malformed)?;
        if major.facts != VERSION {
            return Err(Failure::new(
                Kind::Usage,
                format!(
                    "{} has format {}, this hullwright reads format {VERSION}",
                    facts.display(),
                    major.facts
                ),
            )
            .hint("use the hullwright that cut the release, or a newer one")
            .into());
        }
        let document: Document = serde_json::from_slice(&text).map_err(malformed)?;
        let list = hashed(&path(FILES), document.files, &facts)?;
        let files = files::parse(&String::from_utf8_lossy(&list))
            .with_context(|| format!("reading {}", path(FILES).display()))?;
        let kernel_config = document
            .kernel_config
            .map(|hash| hashed(&path(KERNEL_CONFIG), hash, &facts))
            .transpose()?;
        Ok(Self {
            summary: document.summary,
            files,
            kernel_config,
        })
    }

    /// Reads the facts at `path`: a `facts.json` of any prefix, or a folder with one of them.
    ///
    /// # Errors
    /// As [`Self::read`]; a folder with none, or with more than one.
    pub fn find(path: &Path) -> Result<Self> {
        let file = if path.is_dir() {
            only_facts_in(path)?
        } else {
            path.to_owned()
        };
        let name = file.file_name().and_then(|name| name.to_str());
        let Some(prefix) = name.and_then(|name| name.strip_suffix(FACTS)) else {
            let message = format!("{} is no {FACTS}", path.display());
            return Err(Failure::new(Kind::Usage, message)
                .hint("name a release by its ID_VERSION.facts.json, or a folder with one")
                .into());
        };
        Self::read(file.parent().unwrap_or(Path::new("")), prefix)
    }
}

fn only_facts_in(folder: &Path) -> Result<PathBuf> {
    let context = || format!("listing {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(context)? {
        let name = entry.with_context(context)?.file_name();
        if let Some(name) = name.to_str().filter(|name| name.ends_with(FACTS)) {
            found.push(name.to_owned());
        }
    }
    found.sort();
    match found.as_slice() {
        [one] => Ok(folder.join(one)),
        [] => {
            let message = format!("{} has no {FACTS}", folder.display());
            Err(Failure::new(Kind::Usage, message)
                .hint("name the folder of an architecture in a channel: DIR/CHANNEL/ARCH")
                .into())
        }
        several => {
            let message = format!(
                "{} has {} releases: {}",
                folder.display(),
                several.len(),
                several.join(", ")
            );
            Err(Failure::new(Kind::Usage, message)
                .hint("name one of these files")
                .into())
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|error| {
        Failure::new(Kind::Usage, format!("reading {}: {error}", path.display())).into()
    })
}

fn hashed(path: &Path, expected: Sha256, by: &Path) -> Result<Vec<u8>> {
    let bytes = read(path)?;
    if Sha256::of(&bytes) == expected {
        return Ok(bytes);
    }
    let message = format!(
        "{} is not the file that {} names",
        path.display(),
        by.display()
    );
    Err(Failure::new(Kind::Archive, message)
        .hint("restore the release, or verify it with `hullwright release verify`")
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::diff::testing::facts;

    #[test]
    fn facts_read_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let facts = facts();
        facts.write(dir.path(), "os_1.0.").unwrap();
        assert_eq!(Facts::read(dir.path(), "os_1.0.").unwrap(), facts);
        assert_eq!(Facts::find(dir.path()).unwrap(), facts);
        let file = dir.path().join("os_1.0.facts.json");
        assert_eq!(Facts::find(&file).unwrap(), facts);
        let bare = Facts {
            kernel_config: None,
            ..facts.clone()
        };
        bare.write(dir.path(), "os_1.1.").unwrap();
        assert_eq!(Facts::read(dir.path(), "os_1.1.").unwrap(), bare);
        let error = Facts::find(dir.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("os_1.0.facts.json, os_1.1.facts.json"),
            "{error}"
        );
    }

    #[test]
    fn facts_that_were_changed_or_are_of_another_format_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(FACTS);
        facts().write(dir.path(), "").unwrap();
        let good = fs::read_to_string(&file).unwrap();
        let said = |what: &str| {
            let error = format!("{:#}", Facts::read(dir.path(), "").unwrap_err());
            assert!(error.contains(what), "{error}");
        };
        fs::write(&file, good.replace("\"facts\": 1", "\"facts\": 2")).unwrap();
        said("format 2");
        fs::write(&file, good.replace("\"id\"", "\"ident\"")).unwrap();
        said("has no facts");
        fs::write(&file, &good).unwrap();
        for name in [FILES, KERNEL_CONFIG] {
            let path = dir.path().join(name);
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, b"# other\n").unwrap();
            said("is not the file");
            fs::remove_file(&path).unwrap();
            said(name);
            fs::write(&path, bytes).unwrap();
        }
        assert!(Facts::read(dir.path(), "").is_ok());
    }
}
