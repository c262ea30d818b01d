//! The account files that every `/etc` begins with, as they stand.

use std::collections::BTreeSet;

use anyhow::Result;

use super::Subject;
use super::config::{self, Text};

/// One line of passwd(5), group(5), shadow(5) or gshadow(5).
#[derive(Debug)]
pub struct Entry {
    /// Its number in the file, from 1.
    pub line: usize,
    /// What colons separate.
    pub fields: Vec<String>,
}

impl Entry {
    /// The field at `index`; empty where the line ends before it.
    #[must_use]
    pub fn field(&self, index: usize) -> &str {
        self.fields.get(index).map_or("", String::as_str)
    }
}

/// The lines of `/etc/NAME`; nothing where it does not exist.
///
/// # Errors
/// Content that does not decompress.
pub fn file<'a>(subject: &Subject<'a>, name: &str) -> Result<Option<(Text<'a>, Vec<Entry>)>> {
    let Some(text) = config::text(subject, &format!("/etc/{name}"))? else {
        return Ok(None);
    };
    let entries = (1..)
        .zip(text.text.lines())
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(line, text)| Entry {
            line,
            fields: text.split(':').map(String::from).collect(),
        })
        .collect();
    Ok(Some((text, entries)))
}

/// The names of all users and groups.
#[derive(Debug)]
pub struct Names {
    users: BTreeSet<String>,
    groups: BTreeSet<String>,
}

impl Names {
    /// Those of an image.
    ///
    /// # Errors
    /// Content that does not decompress.
    pub fn of(subject: &Subject<'_>) -> Result<Self> {
        let names = |file_name, always: [&str; 2]| -> Result<BTreeSet<String>> {
            let mut names: BTreeSet<String> = always.map(String::from).into();
            if let Some((_, entries)) = file(subject, file_name)? {
                names.extend(entries.iter().map(|entry| entry.field(0).to_owned()));
            }
            Ok(names)
        };
        Ok(Self {
            // systemd knows these two without any file (systemd.exec(5), `User=`).
            users: names("passwd", ["root", "nobody"])?,
            groups: names("group", ["root", "nogroup"])?,
        })
    }

    /// Whether a user is known by this name or number. Names with specifiers are.
    #[must_use]
    pub fn has_user(&self, name: &str) -> bool {
        is_open(name) || self.users.contains(name)
    }

    /// Whether a group is known by this name or number. Names with specifiers are.
    #[must_use]
    pub fn has_group(&self, name: &str) -> bool {
        is_open(name) || self.groups.contains(name)
    }
}

fn is_open(name: &str) -> bool {
    name.contains(['%', '$']) || name.bytes().all(|byte| byte.is_ascii_digit())
}
