//! Lines of tmpfiles.d.

use anyhow::Result;

use super::Rule;
use crate::audit::accounts::Names;
use crate::audit::config;
use crate::audit::program::is_in_image;
use crate::audit::{Finding, Subject};
use crate::tree::policy::FACTORY;
use crate::tree::policy::tmpfiles::{Line, parse_line};

pub(super) const RULE: Rule = Rule {
    name: "tmpfiles",
    about: "A line of tmpfiles.d is malformed, names a user or group that the image does not have, or \
            copies or links what isn't there: the path is not made, or leads nowhere.",
    check,
};

const FOLDERS: [&str; 3] = [
    "/etc/tmpfiles.d",
    "/usr/local/lib/tmpfiles.d",
    "/usr/lib/tmpfiles.d",
];

/// For users' managers.
const USER_FOLDERS: [&str; 2] = ["/etc/user-tmpfiles.d", "/usr/share/user-tmpfiles.d"];

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let names = Names::of(subject)?;
    let mut found = Vec::new();
    let mut files = config::texts(subject, &FOLDERS, ".conf")?;
    files.extend(config::texts(subject, &USER_FOLDERS, ".conf")?);
    for file in &files {
        for (number, text) in (1..).zip(file.text.lines()) {
            let mut complain = |what: &str, message: String| {
                let message = format!("line {number} {message}");
                found.push(Finding::new(
                    RULE.name,
                    (&file.path, file.node),
                    what,
                    message,
                ));
            };
            let line = match parse_line(text) {
                Ok(Some(line)) => line,
                Ok(None) => continue,
                Err(why) => {
                    complain("syntax", format!("is not one of tmpfiles.d(5): {why}"));
                    continue;
                }
            };
            for (what, name, known) in [
                (
                    "user",
                    &line.user,
                    line.user.as_deref().is_none_or(|n| names.has_user(n)),
                ),
                (
                    "group",
                    &line.group,
                    line.group.as_deref().is_none_or(|n| names.has_group(n)),
                ),
            ] {
                if let Some(name) = name.as_deref().filter(|_| !known) {
                    complain(
                        name,
                        format!("names the {what} `{name}`, which the image does not have"),
                    );
                }
            }
            if let Some(source) = source(&line)
                && subject.find(&source).is_none()
            {
                let verb = if line.kind == 'C' {
                    "copies"
                } else {
                    "links to"
                };
                complain(
                    &source,
                    format!("{verb} `{source}`, which the image does not have"),
                );
            }
        }
    }
    Ok(found)
}

/// What a line copies or links to, where the image decides what that is.
fn source(line: &Line) -> Option<String> {
    let path = match (line.kind, line.argument.as_deref()) {
        ('C', Some(argument)) | ('L', Some(argument)) if argument.starts_with('/') => {
            argument.to_owned()
        }
        ('L', Some(argument)) => {
            let dir = line.path.rsplit_once('/').map_or("", |(dir, _)| dir);
            normal(&format!("{dir}/{argument}"))
        }
        // Without an argument it is what the factory has for the path.
        ('C', None) => format!("/{}{}", FACTORY.trim_end_matches("/etc"), line.path),
        _ => return None,
    };
    is_in_image(&path).then_some(path)
}

/// The path without `..`.
fn normal(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::Image;

    #[test]
    fn lines_parse_and_name_what_is_there() {
        for (line, wanted) in [
            ("d /var/lib/x 0750 root disk -", None),
            ("d /var/lib/x 0750 0 6 -", None),
            ("d /var/lib/x 0750 bob disk -", Some("bob")),
            ("z /dev/x 0660 - crew -", Some("crew")),
            ("d var/lib/x", Some("syntax")),
            ("j /var/lib/x", Some("syntax")),
            ("C /root/.profile - - - - /usr/share/x", None),
            (
                "C /root/.profile - - - - /usr/share/gone",
                Some("/usr/share/gone"),
            ),
            ("C! /etc/x - - - -", None),
            ("C! /etc/gone - - - -", Some("/usr/share/factory/etc/gone")),
            ("L /etc/mtab - - - - ../proc/self/mounts", None),
            (
                "L /var/x - - - - ../usr/share/gone",
                Some("/usr/share/gone"),
            ),
            ("L+ /etc/y - - - - x", None),
            ("L /run/shm - - - - /dev/shm", None),
            ("L /var/run - - - - ../run", None),
            ("C /run/x - - - - /.extra/x", None),
        ] {
            let image = Image::new(&[
                ("usr/lib/tmpfiles.d/a.conf", line),
                ("usr/share/factory/etc/x", ""),
                ("usr/share/x", ""),
                ("usr/share/factory/etc/group", "disk:x:6:\n"),
            ]);
            let wanted: Vec<_> = wanted
                .iter()
                .map(|what| format!("/usr/lib/tmpfiles.d/a.conf: {what}"))
                .collect();
            assert_eq!(image.findings(&RULE), wanted, "{line}");
        }
    }
}
