//! Where a release tree is read from: a folder, or a web server.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::archive::http::{FetchError, Transport};

/// A tree to read. Shared by threads.
pub trait Source: Sync {
    /// How people call it.
    fn name(&self) -> String;

    /// Opens the plain file at `path`, which is relative to the tree; `None` where there is none.
    ///
    /// # Errors
    /// It can't be read, or is no plain file.
    fn open(&self, path: &str) -> Result<Option<Box<dyn Read + '_>>>;

    /// The names in `folder` in order; `None` where nobody can tell.
    ///
    /// # Errors
    /// The folder can't be read.
    fn list(&self, folder: &str) -> Result<Option<Vec<String>>>;
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// As [`Source::open`]; it is larger.
pub fn read(source: &dyn Source, path: &str, limit: u64) -> Result<Option<Vec<u8>>> {
    let Some(reader) = source.open(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    reader
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .context("it can't be read")?;
    if bytes.len() as u64 > limit {
        bail!("it has more than {limit} bytes");
    }
    Ok(Some(bytes))
}

/// A tree in a folder.
#[derive(Debug)]
pub struct Folder(pub PathBuf);

impl Source for Folder {
    fn name(&self) -> String {
        self.0.display().to_string()
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn Read + '_>>> {
        let path = self.0.join(path);
        match fs::symlink_metadata(&path) {
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error).context("it can't be read"),
            // A pipe would wait for ever, a link may lead out of what a server serves.
            Ok(data) if !data.is_file() => bail!("it is no plain file"),
            Ok(_) => {}
        }
        let file = fs::File::open(&path).context("it can't be read")?;
        Ok(Some(Box::new(file)))
    }

    fn list(&self, folder: &str) -> Result<Option<Vec<String>>> {
        let path = self.0.join(folder);
        let mut names = Vec::new();
        for entry in entries(&path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(Some(names))
    }
}

fn entries(path: &Path) -> Result<impl Iterator<Item = Result<fs::DirEntry>>> {
    let entries = fs::read_dir(path).context("the folder can't be listed")?;
    Ok(entries.map(|entry| entry.context("the folder can't be listed")))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// A tree behind a URL.
#[derive(Debug)]
pub struct Web {
    /// Asks the server.
    pub transport: Transport,
    /// The tree's URL, without a slash at the end.
    pub base: String,
}

impl Source for Web {
    fn name(&self) -> String {
        self.base.clone()
    }

    fn open(&self, path: &str) -> Result<Option<Box<dyn Read + '_>>> {
        // Of the characters that names have, no one needs escaping in a URL (RFC 3986, section 2.3).
        let url = format!("{}/{path}", self.base);
        match self.transport.stream(&url, path) {
            Ok(stream) => Ok(Some(Box::new(stream))),
            Err(FetchError::Gone(_)) => Ok(None),
            Err(FetchError::Failed(error)) => Err(error),
        }
    }

    fn list(&self, _: &str) -> Result<Option<Vec<String>>> {
        Ok(None)
    }
}
