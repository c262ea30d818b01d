//! A project of one's own: profile, overlay, ignore file, README.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::checks;
use crate::failure::{Failure, Kind};

/// Path and text of each file; `{NAME}` and `{ID}` are filled in.
const FILES: [(&str, &str); 4] = [
    ("{NAME}.yaml", include_str!("profile.yaml")),
    ("README.md", include_str!("README.md")),
    (".gitignore", include_str!("gitignore")),
    (
        "files/etc/motd",
        "This is {NAME}. /usr is read-only; /etc and /var are yours.\n",
    ),
];

/// Writes a project named `name` into `dir`, which is made when absent, and returns what was
/// written. Nothing is ever overwritten: if a file is there already, nothing is written at all.
///
/// # Errors
/// A name that can't be a profile's, a file that is there already, I/O.
pub fn scaffold(dir: &Path, name: &str) -> Result<Vec<PathBuf>> {
    if let Err(expected) = checks::name(name) {
        return Err(Failure::new(
            Kind::Usage,
            format!("`{name}` can't be the name of a profile; expected {expected}"),
        )
        .hint("name the project with `--name`")
        .into());
    }
    let id: String = name.chars().take(10).collect();
    let id = id.trim_end_matches('-');
    let fill = |text: &str| text.replace("{NAME}", name).replace("{ID}", id);
    let files: Vec<_> = FILES
        .iter()
        .map(|(path, text)| (dir.join(fill(path)), fill(text)))
        .collect();
    if let Some((path, _)) = files
        .iter()
        .find(|(path, _)| path.symlink_metadata().is_ok())
    {
        return Err(Failure::new(
            Kind::Usage,
            format!(
                "{} is there already, and nothing is overwritten",
                path.display()
            ),
        )
        .hint("choose an empty directory, or another name")
        .into());
    }
    for (path, text) in &files {
        let context = || format!("writing {}", path.display());
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(context)?;
        }
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .with_context(context)?;
    }
    Ok(files.into_iter().map(|(path, _)| path).collect())
}

#[cfg(test)]
mod tests {
    use super::super::{LoadRequest, load};
    use super::*;

    #[test]
    fn a_scaffolded_profile_loads() {
        let dir = tempfile::tempdir().unwrap();
        let written = scaffold(&dir.path().join("new"), "edge-gateway-7").unwrap();
        let loaded = load(&LoadRequest {
            reference: written[0].to_str().unwrap(),
            ..LoadRequest::default()
        })
        .unwrap();
        assert_eq!(loaded.profile.name, "edge-gateway-7");
        assert_eq!(loaded.profile.os.id, "edge-gatew");
        loaded.check_files().unwrap();
        let overlay = loaded.overlay().unwrap();
        assert!(
            overlay
                .iter()
                .any(|entry| entry.path.as_bytes() == b"etc/motd")
        );
        for path in &written {
            let text = std::fs::read_to_string(path).unwrap();
            assert!(!text.contains("{NAME}") && !text.contains("{ID}"), "{text}");
        }
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("README.md"), "mine").unwrap();
        assert!(scaffold(dir.path(), "a").is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(scaffold(dir.path(), "Not a name").is_err());
    }
}
