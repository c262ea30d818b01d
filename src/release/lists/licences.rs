//! `licences.txt`: the licences of an image for a reader who has to answer for them.
//!
//! The texts themselves are in the image, where they must be, so the list names each by path and hash
//! instead of repeating two megabytes of them in every release.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::packages::{Package, Packages};

const WIDTH: usize = 100;

/// The text of the file.
pub fn text(packages: &Packages) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut out, packages);
    out
}

fn write(out: &mut String, packages: &Packages) -> std::fmt::Result {
    let Packages {
        id, version, arch, ..
    } = packages;
    writeln!(out, "Licences of the packages in {id} {version} ({arch})\n")?;
    write!(
        out,
        "The image holds the copyright file of every package that ships one, and in\n\
         /usr/share/common-licenses the texts of the licences that these files point to. They are named\n\
         below with the SHA-256 of each. To read one without a running system:\n\n    \
         hullwright inspect {id}_{version}_UUID.usr.raw cat PATH\n\n\
         Short names are those of the copyright files, which tell for each file of a source package\n\
         under which licence it is; a package need not contain files under all of them. Where a\n\
         copyright file is prose, its own words decide, and the list has the texts it points to.\n"
    )?;
    section(out, "Packages")?;
    for package in &packages.packages {
        entry(out, package)?;
    }
    if !packages.firmware.is_empty() {
        section(out, "Firmware on the EFI system partition")?;
        for firmware in &packages.firmware {
            writeln!(out, "\n{} {}", firmware.name, firmware.version)?;
            for notice in &firmware.notices {
                writeln!(out, "    {} {}", notice.path, notice.sha256)?;
            }
            if firmware.notices.is_empty() {
                writeln!(out, "    NO LICENCE NOTICE on the EFI system partition")?;
            }
        }
    }
    section(out, "Packages by licence")?;
    let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for package in &packages.packages {
        for name in &package.licences {
            by_name.entry(name).or_default().push(&package.name);
        }
    }
    for (name, packages) in by_name {
        writeln!(out, "\n{name}")?;
        wrapped(out, packages.into_iter())?;
    }
    Ok(())
}

fn section(out: &mut String, title: &str) -> std::fmt::Result {
    writeln!(out, "\n\n{title}\n{}", "=".repeat(title.len()))
}

fn entry(out: &mut String, package: &Package) -> std::fmt::Result {
    write!(out, "\n{} {}", package.name, package.version)?;
    match &package.source {
        Some(source) if *source != package.name => writeln!(out, " (source: {source})")?,
        _ => writeln!(out)?,
    }
    let Some(copyright) = &package.copyright else {
        let what = if package.files == 0 {
            "none of its files is in the image"
        } else {
            "NO COPYRIGHT FILE in the image"
        };
        return writeln!(out, "    {what}");
    };
    if !package.licences.is_empty() {
        wrapped(out, package.licences.iter().map(String::as_str))?;
    } else if package.points_to.is_empty() {
        writeln!(out, "    prose")?;
    } else {
        let names = package.points_to.join(", ");
        writeln!(out, "    prose, which points to {names}")?;
    }
    writeln!(out, "    {} {}", copyright.path, copyright.sha256)
}

/// Words with commas between, on as many indented lines as they need.
fn wrapped<'w>(out: &mut String, words: impl Iterator<Item = &'w str>) -> std::fmt::Result {
    let mut words = words.peekable();
    let mut column = 0;
    while let Some(word) = words.next() {
        let comma = if words.peek().is_some() { "," } else { "" };
        if column > 0 && column + word.len() + comma.len() + 1 > WIDTH {
            writeln!(out)?;
            column = 0;
        }
        if column == 0 {
            write!(out, "    {word}{comma}")?;
            column = 4;
        } else {
            write!(out, " {word}{comma}")?;
            column += 1;
        }
        column += word.len() + comma.len();
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::digest::Sha256;
    use crate::release::lists::packages::{Copyright, Firmware};

    #[test]
    fn every_package_stands_there_with_its_licences_and_where_they_are() {
        let package = |name: &str, licences: &[&str], points_to: &[&str], has_file: bool| Package {
            name: name.into(),
            version: "1.0-1".into(),
            architecture: "amd64".into(),
            source: Some("src".into()),
            suite: "trixie".into(),
            path: "pool/main/s/src/x.deb".into(),
            sha256: Sha256::of(b"deb"),
            why: "profile".into(),
            files: u64::from(name != "empty"),
            bytes: 10,
            licences: licences.iter().map(|name| (*name).to_owned()).collect(),
            points_to: points_to.iter().map(|name| (*name).to_owned()).collect(),
            copyright: has_file.then(|| Copyright {
                path: format!("/usr/share/doc/{name}/copyright"),
                sha256: Sha256::of(b"copyright"),
            }),
        };
        let many: Vec<String> = (0..20).map(|n| format!("Licence-{n:02}+")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let packages = Packages {
            format: 1,
            id: "os".into(),
            version: "1.0".into(),
            arch: Arch::X86_64,
            packages: vec![
                package("empty", &[], &[], false),
                package("many", &many, &[], true),
                package("mute", &[], &[], false),
                package("odd", &[], &[], true),
                package("prose", &[], &["GPL-2", "GPL-3"], true),
                package("src", &["ISC", "Licence-03+"], &[], true),
            ],
            firmware: vec![
                Firmware {
                    name: "firmware".into(),
                    version: "3".into(),
                    sha256: Sha256::of(b"firmware"),
                    notices: vec![Copyright {
                        path: "esp:/licences/firmware.txt".into(),
                        sha256: Sha256::of(b"notice"),
                    }],
                },
                Firmware {
                    name: "loader".into(),
                    version: "4".into(),
                    sha256: Sha256::of(b"loader"),
                    notices: Vec::new(),
                },
            ],
        };
        let text = text(&packages);
        assert!(text.lines().all(|line| line.len() <= WIDTH + 4), "{text}");
        insta::assert_snapshot!(text);
    }
}
