//! Licences from `/usr/share/doc/PACKAGE/copyright`: short names where the file is machine-readable
//! (Debian's copyright-format 1.0, "DEP-5"), otherwise the common licences that its text points to.

use std::collections::BTreeSet;

/// Where base-files keeps the texts of common licences; copyright files point to them.
const COMMON: &str = "/usr/share/common-licenses/";

/// What a copyright file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Short names as written, without repetition, in alphabetical order.
    Names(Vec<String>),
    /// It is prose, which names these files of `/usr/share/common-licenses`.
    Prose(Vec<String>),
}

/// Reads a copyright file.
pub fn read(text: &str) -> Said {
    let text = text.trim_start_matches('\u{feff}');
    match names(text) {
        Some(names) if !names.is_empty() => Said::Names(names.into_iter().collect()),
        _ => Said::Prose(common(text)),
    }
}

/// The short names of a machine-readable file. Stanzas for files and the header say what applies;
/// the others only give a name its text.
fn names(text: &str) -> Option<BTreeSet<String>> {
    let mut stanzas = text
        .split('\n')
        .map(|line| line.trim_end())
        .filter(|line| !line.starts_with('#'))
        .collect::<Vec<_>>()
        .split(|line| line.is_empty())
        .filter(|stanza| !stanza.is_empty())
        .map(<[&str]>::to_vec)
        .collect::<Vec<_>>()
        .into_iter();
    let header = stanzas.next()?;
    let format = field(&header, "Format").or_else(|| field(&header, "Format-Specification"))?;
    if !format.contains("copyright-format") && !format.contains("dep5") && !format.contains("dep/5")
    {
        return None;
    }
    let mut out = BTreeSet::new();
    let mut add = |stanza: &[&str]| {
        if let Some(name) = field(stanza, "License") {
            let name = name.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            if !name.is_empty() {
                out.insert(name);
            }
        }
    };
    add(&header);
    let rest: Vec<_> = stanzas.collect();
    for stanza in rest.iter().filter(|s| field(s, "Files").is_some()) {
        add(stanza);
    }
    if out.is_empty() {
        let mut add_all = BTreeSet::new();
        for stanza in &rest {
            add_all.extend(field(stanza, "License").map(|name| name.trim().to_owned()));
        }
        add_all.remove("");
        return Some(add_all);
    }
    Some(out)
}

/// The first line of a field's value; names of fields know no case.
fn field<'t>(stanza: &[&'t str], name: &str) -> Option<&'t str> {
    stanza.iter().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

fn common(text: &str) -> Vec<String> {
    let found: BTreeSet<String> = text
        .match_indices(COMMON)
        .map(|(at, _)| {
            text[at + COMMON.len()..]
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || "-.".contains(*c))
                .collect::<String>()
        })
        .map(|name| name.trim_end_matches(['.', '-']).to_owned())
        .filter(|name| !name.is_empty())
        .collect();
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn machine_readable_files_name_what_applies_to_their_files() {
        let text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\r\n\
                    Upstream-Name: x\n\n# a comment\nFiles: *\nCopyright: me\nLicense: GPL-2+\n \
                    text that says License: Other\n\nfiles: a\nLICENSE:   BSD-3-clause  or  ISC\n\n\
                    Files: b\nLicense: GPL-2+\n\nLicense: Unused\n words\n\nLicense: ISC\n words\n";
        assert_eq!(
            read(text),
            Said::Names(owned(&["BSD-3-clause or ISC", "GPL-2+"]))
        );
    }

    #[test]
    fn a_file_without_stanzas_for_files_names_its_texts() {
        let text = "Format: http://dep.debian.net/deps/dep5/\n\nLicense: MIT\n words\n";
        assert_eq!(read(text), Said::Names(owned(&["MIT"])));
    }

    #[test]
    fn prose_points_to_common_licences() {
        let text = "This is free; see `/usr/share/common-licenses/LGPL-2.1'.\nAlso\n\
                    /usr/share/common-licenses/GPL-3. And /usr/share/common-licenses/LGPL-2.1.\n";
        assert_eq!(read(text), Said::Prose(owned(&["GPL-3", "LGPL-2.1"])));
        assert_eq!(read("Do what you want."), Said::Prose(Vec::new()));
        assert_eq!(read(""), Said::Prose(Vec::new()));
        // A field is no format because it is first.
        assert_eq!(
            read("Format: prose\n\nFiles: *\nLicense: X\n"),
            Said::Prose(Vec::new())
        );
        // Nor is a format that names nothing.
        assert_eq!(
            read("Format: copyright-format/1.0\n"),
            Said::Prose(Vec::new())
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(Format: dep5\n\n)?(.|\n){0,300}") {
            read(&text);
        }
    }
}
