//! The files of the ESP as a [`Volume`].

use std::io::{Read, Seek, Write};

use anyhow::Result;

use super::volume::{Node, NodeKind, Volume};
use crate::esp::{EspReader, FatError};
use crate::tree::TreePath;

/// The ESP.
#[derive(Debug)]
pub struct EspVolume<R>(pub EspReader<R>);

fn text(path: &TreePath) -> String {
    String::from_utf8_lossy(path.as_bytes()).into_owned()
}

impl<R: Read + Seek> Volume for EspVolume<R> {
    fn prefix(&self) -> &'static str {
        "esp:"
    }

    fn node(&mut self, path: &TreePath) -> Result<Option<Node>> {
        let Some(parent) = path.parent() else {
            return Ok(Some(Node::dir()));
        };
        let entries = match self.0.list(&text(&parent)) {
            Ok(entries) => entries,
            Err(FatError::NotFound(_) | FatError::WrongKind(..)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let name = String::from_utf8_lossy(path.name()).to_lowercase();
        let found = entries.into_iter().find(|e| e.name.to_lowercase() == name);
        // FAT has neither owners nor modes: what mounts show by default.
        Ok(found.map(|entry| Node {
            kind: if entry.is_dir {
                NodeKind::Dir
            } else {
                NodeKind::File
            },
            size: entry.len.into(),
            ..Node::dir()
        }))
    }

    fn names(&mut self, dir: &TreePath) -> Result<Vec<Vec<u8>>> {
        let entries = self.0.list(&text(dir))?;
        let mut names: Vec<_> = entries.into_iter().map(|e| e.name.into_bytes()).collect();
        names.sort();
        Ok(names)
    }

    fn copy(&mut self, path: &TreePath, out: &mut dyn Write) -> Result<()> {
        Ok(out.write_all(&self.0.read(&text(path))?)?)
    }
}
