//! What runs scripts.

use anyhow::Result;

use super::Rule;
use crate::audit::files::{Fact, Files};
use crate::audit::program::{self, Found};
use crate::audit::{Finding, Subject};

pub(super) const RULE: Rule = Rule {
    name: "interpreters",
    about: "The first line of an executable script names a program that the image does not have, itself \
            or by way of env(1): the script does not start.",
    check,
};

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (path, fact) in Files::of(subject)?.iter() {
        let Fact::Script(line) = fact else {
            continue;
        };
        // Only what has the bit is started by its first line.
        let node = subject.tree.get(path);
        let Some(node) = node.filter(|node| node.meta.mode & 0o111 != 0) else {
            continue;
        };
        for name in programs(line) {
            // An environment may come with a PATH; what is not in any usual folder is missing.
            let complaint = match program::find(subject, name) {
                Found::Unknown if name.starts_with('/') => Found::Missing.complaint(),
                other => other.complaint(),
            };
            if let Some(complaint) = complaint {
                let message = format!("is a script for `{name}`, {complaint}");
                found.push(Finding::new(RULE.name, (path, node), name, message).hint(
                    "add the package that ships it to packages.include, or prune the script",
                ));
            }
        }
    }
    Ok(found)
}

/// The interpreter of a first line, and the program that env(1) is to look for.
fn programs(line: &str) -> Vec<&str> {
    let mut words = line.split_ascii_whitespace();
    let interpreter = words.next().unwrap_or_default();
    let mut out = vec![interpreter];
    if interpreter.rsplit('/').next() == Some("env") {
        // `-S` splits what the kernel passes as one word; `NAME=VALUE` goes to the environment.
        out.extend(words.find(|word| !word.starts_with('-') && !word.contains('=')));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file, link};

    #[test]
    fn scripts_have_what_runs_them() {
        let script = |line: &str| file(0o755, format!("#!{line}\n").into_bytes());
        let image = Image::new(&[("usr/bin/text", "#!/bin/gone\n")])
            .with("usr/bin/dash", file(0o755, "x"))
            .with("usr/bin/env", file(0o755, "x"))
            .with("usr/bin/sh", link("dash"))
            .with("usr/bin/a", script("/bin/sh -e"))
            .with("usr/bin/b", script(" /usr/bin/env -S A=b dash -e"))
            .with("usr/bin/c", script("/usr/bin/perl -w"))
            .with("usr/bin/d", script("/usr/bin/env python3"))
            .with("usr/bin/e", script("/usr/bin/text"))
            .with("usr/bin/f", script("/opt/bin/tool"));
        assert_eq!(
            image.findings(&RULE),
            [
                "/usr/bin/c: /usr/bin/perl",
                "/usr/bin/d: python3",
                "/usr/bin/e: /usr/bin/text",
                "/usr/bin/f: /opt/bin/tool",
            ]
        );
    }
}
