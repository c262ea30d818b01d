//! Configuration of modprobe.

use anyhow::Result;

use super::Rule;
use crate::audit::config::{self, Text};
use crate::audit::{Finding, Subject, program};

pub(super) const RULE: Rule = Rule {
    name: "modprobe",
    about: "A line of modprobe.d(5) is malformed, or runs a program that the image does not have when a \
            module is to be loaded: modprobe ignores the line, or fails.",
    check,
};

const FOLDERS: [&str; 3] = [
    "/etc/modprobe.d",
    "/usr/local/lib/modprobe.d",
    "/usr/lib/modprobe.d",
];

/// The commands of modprobe.d(5) with the least number of words behind them.
const COMMANDS: [(&str, usize); 7] = [
    ("alias", 2),
    ("blacklist", 1),
    ("install", 2),
    ("options", 2),
    ("remove", 2),
    ("softdep", 2),
    ("weakdep", 2),
];

/// libkmod runs commands by system(3).
const SHELL: &str = "/bin/sh";

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for file in config::texts(subject, &FOLDERS, ".conf")? {
        for (number, line) in lines(&file.text) {
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let Some((&command, rest)) = words.split_first() else {
                continue;
            };
            let known = COMMANDS.iter().find(|(name, _)| *name == command);
            match known {
                None => found.push(finding(
                    &file,
                    number,
                    command,
                    "has a command that modprobe.d(5) does not know",
                )),
                Some((_, least)) if rest.len() < *least => {
                    found.push(finding(
                        &file,
                        number,
                        command,
                        "has too few words behind its command",
                    ));
                }
                Some(("install" | "remove", _)) => {
                    let programs = programs(rest.get(1..).unwrap_or_default());
                    for name in [SHELL].into_iter().chain(programs) {
                        if let Some(complaint) = program::find(subject, name).complaint() {
                            let message = format!("runs `{name}`, {complaint}");
                            found.push(finding(&file, number, name, &message));
                        }
                    }
                }
                Some(_) => {}
            }
        }
    }
    Ok(found)
}

fn finding(file: &Text<'_>, line: usize, what: &str, message: &str) -> Finding {
    let message = format!("line {line} {message}");
    Finding::new(RULE.name, (&file.path, file.node), what, message)
}

/// Lines with their numbers; a backslash joins the next one, comments are left out.
fn lines(text: &str) -> Vec<(usize, String)> {
    let mut out: Vec<(usize, String)> = Vec::new();
    let mut continues = false;
    for (number, line) in (1..).zip(text.lines()) {
        let (line, goes_on) = match line.strip_suffix('\\') {
            Some(line) => (line, true),
            None => (line, false),
        };
        match out.last_mut().filter(|_| continues) {
            Some((_, whole)) => whole.push_str(line),
            None => out.push((number, line.to_owned())),
        }
        continues = goes_on;
    }
    out.retain(|(_, line)| !line.trim_start().starts_with('#'));
    out
}

/// The programs of a command line that have a path of their own: the first word of each command.
fn programs<'a>(words: &[&'a str]) -> Vec<&'a str> {
    let mut first = true;
    let mut out = Vec::new();
    for word in words {
        if matches!(*word, ";" | "&&" | "||" | "|" | "{" | "(") {
            first = true;
            continue;
        }
        if first && word.starts_with('/') {
            out.push(word.trim_end_matches([';', ')', '}']));
        }
        first = word.ends_with(';');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file};

    fn findings(text: &str, with_shell: bool) -> Vec<String> {
        let image = Image::new(&[("usr/lib/modprobe.d/a.conf", text)])
            .with("usr/bin/true", file(0o755, "x"));
        let image = match with_shell {
            true => image.with("usr/bin/sh", file(0o755, "x")),
            false => image,
        };
        let found = image.findings(&RULE).into_iter();
        found
            .map(|line| line.replace("/usr/lib/modprobe.d/a.conf: ", ""))
            .collect()
    }

    #[test]
    fn lines_are_those_of_modprobe_d() {
        for (text, wanted) in [
            ("# x\nblacklist pcspkr\noptions bonding max_bonds=0\n", None),
            ("softdep a pre: b \\\n  post: c\n\n", None),
            ("alias net-pf-10", Some("alias")),
            ("blocklist pcspkr", Some("blocklist")),
            ("install a /bin/true", None),
            ("install a /bin/true; /sbin/gone --x", Some("/sbin/gone")),
            (
                "remove a /sbin/modprobe -r a && /bin/true",
                Some("/sbin/modprobe"),
            ),
        ] {
            let wanted: Vec<_> = wanted.into_iter().collect();
            assert_eq!(findings(text, true), wanted, "{text}");
        }
        assert_eq!(findings("install a /bin/true", false), ["/bin/sh"]);
    }
}
