//! Configuration as programs of the running system read it: text files, and folders whose files hide
//! namesakes of folders behind them.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use super::Subject;
use crate::tree::{Content, Node, TreePath};

/// A text file of the image.
#[derive(Debug)]
pub struct Text<'a> {
    /// Where it lies in the tree.
    pub path: TreePath,
    /// Its node.
    pub node: &'a Node,
    /// What it says; bytes that are no UTF-8 are replaced.
    pub text: String,
}

/// The file that a program reads at the absolute path `at`, links followed; `None` when there is none.
///
/// # Errors
/// Content that does not decompress.
pub fn text<'a>(subject: &Subject<'a>, at: &str) -> Result<Option<Text<'a>>> {
    let Some((path, node)) = subject.find(at) else {
        return Ok(None);
    };
    let Some(content) = node.content() else {
        return Ok(None);
    };
    let text = read(content).with_context(|| format!("reading {path}"))?;
    Ok(Some(Text { path, node, text }))
}

fn read(content: &Content) -> Result<String> {
    Ok(String::from_utf8_lossy(&content.read()?).into_owned())
}

/// The names in `folders` that end in `suffix`, with where each leads first: the absolute path of its
/// first folder. Directories are left out.
#[must_use]
pub fn names(subject: &Subject<'_>, folders: &[&str], suffix: &str) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    for folder in folders {
        let Some((dir, _)) = subject.find(folder) else {
            continue;
        };
        for (path, node) in subject.tree.children(&dir) {
            let name = String::from_utf8_lossy(path.name()).into_owned();
            if !node.is_dir() && name.ends_with(suffix) {
                out.entry(name)
                    .or_insert_with(|| Subject::at_run_time(path));
            }
        }
    }
    out
}

/// The files of [`names`] in order of name. Links to `/dev/null` and to nowhere have no text.
///
/// # Errors
/// Content that does not decompress.
pub fn texts<'a>(subject: &Subject<'a>, folders: &[&str], suffix: &str) -> Result<Vec<Text<'a>>> {
    let files = names(subject, folders, suffix);
    let found = files.values().map(|at| text(subject, at));
    Ok(found
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .flatten()
        .collect())
}
