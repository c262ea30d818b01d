//! What udev's rules run, and whom they give devices to.

use anyhow::Result;

use super::Rule;
use crate::audit::accounts::Names;
use crate::audit::config::{self, Text};
use crate::audit::units::{Units, unit_names};
use crate::audit::{Finding, Subject, program};
use crate::tree::policy::install::Scope;

pub(super) const RULE: Rule = Rule {
    name: "udev",
    about: "A rule of udev runs a program, starts a unit, jumps to a label or names a user or group \
            that isn't there: udev leaves that part of the rule out.",
    check,
};

const FOLDERS: [&str; 3] = [
    "/etc/udev/rules.d",
    "/usr/local/lib/udev/rules.d",
    "/usr/lib/udev/rules.d",
];

/// Where programs without a path are.
const PROGRAMS: &str = "/usr/lib/udev";

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let files = config::texts(subject, &FOLDERS, ".rules")?;
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let names = Names::of(subject)?;
    let system = Units::of(subject, Scope::System)?;
    let user = Units::of(subject, Scope::User)?;
    let mut found = Vec::new();
    for file in &files {
        let rules = rules(&file.text);
        for (number, rule) in &rules {
            let never = rule.iter().any(|term| {
                let positive = term.key == "TEST" && term.operator == "==";
                positive && program::is_in_image(&term.value) && subject.find(&term.value).is_none()
            });
            if never {
                continue;
            }
            for term in rule {
                let units = if term.attribute == "SYSTEMD_USER_WANTS" {
                    user
                } else {
                    system
                };
                let complaint = match (term.key, term.attribute) {
                    ("GOTO", _) => {
                        let labels = rules.iter().flat_map(|(_, rule)| rule);
                        let mut labels = labels.filter(|other| other.key == "LABEL");
                        (!labels.any(|label| label.value == term.value)).then(|| {
                            let label = term.value.clone();
                            (
                                format!(
                                    "jumps to the label `{label}`, which the file does not have"
                                ),
                                label,
                            )
                        })
                    }
                    _ => term.complaint(subject, &names, units),
                };
                if let Some((message, what)) = complaint {
                    found.push(finding(file, *number, what, &message));
                }
            }
        }
    }
    Ok(found)
}

fn finding(file: &Text<'_>, line: usize, what: String, message: &str) -> Finding {
    let message = format!("the rule in line {line} {message}");
    Finding::new(RULE.name, (&file.path, file.node), what, message)
}

/// One term of a rule: `KEY{attribute}operator"value"`.
#[derive(Debug, PartialEq, Eq)]
struct Term<'a> {
    key: &'a str,
    attribute: &'a str,
    operator: &'a str,
    value: String,
}

impl Term<'_> {
    /// What the term names in vain: the message, and what is missing.
    fn complaint(
        &self,
        subject: &Subject<'_>,
        names: &Names,
        units: &Units,
    ) -> Option<(String, String)> {
        let value = self.value.as_str();
        let assigns = !matches!(self.operator, "==" | "!=");
        let lacks = "which the image does not have";
        match (self.key, self.attribute) {
            ("RUN", "" | "program") | ("PROGRAM", _) | ("IMPORT", "program") => {
                let program = first_word(value);
                let path = match program.starts_with('/') {
                    true => program.to_owned(),
                    false => format!("{PROGRAMS}/{program}"),
                };
                let known = !program.is_empty() && !program.contains(['$', '%']);
                let complaint = program::find(subject, &path)
                    .complaint()
                    .filter(|_| known)?;
                Some((format!("runs `{path}`, {complaint}"), path))
            }
            ("OWNER", _) if assigns && !names.has_user(value) => Some((
                format!("gives a device to the user `{value}`, {lacks}"),
                value.to_owned(),
            )),
            ("GROUP", _) if assigns && !names.has_group(value) => Some((
                format!("gives a device to the group `{value}`, {lacks}"),
                value.to_owned(),
            )),
            ("ENV", "SYSTEMD_WANTS" | "SYSTEMD_USER_WANTS") if assigns => {
                let gone = unit_names(value)
                    .into_iter()
                    .find(|name| !name.contains('$') && units.get(name).is_none())?;
                Some((format!("starts the unit `{gone}`, {lacks}"), gone))
            }
            _ => None,
        }
    }
}

/// The program of a command line: up to a blank, or in single quotes.
fn first_word(command: &str) -> &str {
    match command.strip_prefix('\'') {
        Some(quoted) => quoted.split('\'').next().unwrap_or_default(),
        None => command.split_ascii_whitespace().next().unwrap_or_default(),
    }
}

/// The rules of a file (udev(7)) with the numbers of their first lines.
fn rules(text: &str) -> Vec<(usize, Vec<Term<'_>>)> {
    let mut out: Vec<(usize, Vec<Term<'_>>)> = Vec::new();
    let mut continues = false;
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        let (line, goes_on) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        let terms = terms(line);
        match out.last_mut().filter(|_| continues) {
            Some((_, rule)) => rule.extend(terms),
            None => out.push((number, terms)),
        }
        continues = goes_on;
    }
    out
}

/// The terms of a line. What is none ends it: udev refuses such a line as a whole.
fn terms(mut line: &str) -> Vec<Term<'_>> {
    let mut out = Vec::new();
    loop {
        line = line.trim_start_matches([',', ' ', '\t']);
        let Some((term, rest)) = term(line) else {
            return out;
        };
        out.push(term);
        line = rest;
    }
}

fn term(line: &str) -> Option<(Term<'_>, &str)> {
    let end = line.find(|c: char| "=!+-:{".contains(c))?;
    let (key, rest) = line.split_at(end);
    let (attribute, rest) = match rest.strip_prefix('{') {
        Some(rest) => rest.split_once('}')?,
        None => ("", rest),
    };
    let key = key.trim();
    let rest = rest.trim_start();
    let end = rest.find(|c: char| !"=!+-:".contains(c))?;
    let (operator, rest) = rest.split_at(end);
    let rest = rest.trim_start();
    // `e"…"` has escapes, `i"…"` ignores case.
    let rest = rest.strip_prefix(['e', 'i']).unwrap_or(rest);
    let rest = rest.strip_prefix('"')?;
    let mut value = String::new();
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let rest = rest.get(at + 1..)?;
                return Some((
                    Term {
                        key,
                        attribute,
                        operator,
                        value,
                    },
                    rest,
                ));
            }
            // Only a quote can be escaped in plain values.
            '\\' if chars.as_str().starts_with('"') => {
                chars.next();
                value.push('"');
            }
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file};

    fn findings(rule: &str) -> Vec<String> {
        Image::new(&[
            ("usr/lib/udev/rules.d/a.rules", rule),
            ("usr/share/factory/etc/group", "disk:x:6:\n"),
            ("usr/lib/systemd/system/t@.service", "[Service]\n"),
        ])
        .with("usr/lib/udev/scsi_id", file(0o755, "x"))
        .with("usr/bin/true", file(0o755, "x"))
        .findings(&RULE)
        .iter()
        .map(|line| line.replace("/usr/lib/udev/rules.d/a.rules: ", ""))
        .collect()
    }

    #[test]
    fn what_rules_name_is_there() {
        for (rule, wanted) in [
            (
                "KERNEL==\"sd*\", IMPORT{program}=\"scsi_id --export $devnode\"",
                None,
            ),
            (
                "IMPORT{program}=\"gone --export\"",
                Some("/usr/lib/udev/gone"),
            ),
            ("RUN+=\"/usr/bin/true -x\", GROUP=\"disk\"", None),
            (
                "ACTION==\"add\", \\\n  RUN+=\"/usr/bin/gone -x\"",
                Some("/usr/bin/gone"),
            ),
            (
                "PROGRAM=\"'/bin/gone' x\", RESULT==\"1\"",
                Some("/bin/gone"),
            ),
            ("PROGRAM==\"/bin/sh -ec 'echo \\\"x\\\"'\"", Some("/bin/sh")),
            ("RUN+=\"$env{REMOVE_CMD}\"", None),
            (
                "RUN{builtin}+=\"kmod load\", IMPORT{builtin}=\"blkid\"",
                None,
            ),
            ("TEST==\"/usr/bin/gone\", RUN+=\"/usr/bin/gone\"", None),
            (
                "TEST!=\"/usr/bin/gone\", RUN+=\"/usr/bin/gone\"",
                Some("/usr/bin/gone"),
            ),
            ("GROUP=\"crew\"", Some("crew")),
            ("GROUP==\"crew\", OWNER=\"0\"", None),
            ("OWNER=\"bob\"", Some("bob")),
            ("ENV{SYSTEMD_WANTS}+=\"t@$kernel.service\"", None),
            ("ENV{SYSTEMD_WANTS}+=\"gone.service\"", Some("gone.service")),
            ("GOTO=\"end\"\nLABEL=\"end\"", None),
            ("GOTO=\"end\"\n#LABEL=\"end\"", Some("end")),
        ] {
            let wanted: Vec<_> = wanted.into_iter().collect();
            assert_eq!(findings(rule), wanted, "{rule}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_rule_panics(text in "[A-C{}\"=!+:,\\\\ \n#ei-]{0,60}") {
            let _ = rules(&text);
        }
    }
}
