//! Modules and files that PAM stacks name.

use anyhow::Result;

use super::Rule;
use crate::audit::config::{self, Text};
use crate::audit::{Finding, Subject};

pub(super) const RULE: Rule = Rule {
    name: "pam",
    about: "A PAM stack names a module or another stack that the image does not have: whoever logs in \
            through it is refused.",
    check,
};

const FOLDERS: [&str; 2] = ["/etc/pam.d", "/usr/lib/pam.d"];

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for file in config::texts(subject, &FOLDERS, "")? {
        for (line, rule) in rules(&file.text) {
            if let Some((what, message)) = missing(subject, &rule) {
                found.push(finding(&file, line, what, &message));
            }
        }
    }
    Ok(found)
}

fn finding(file: &Text<'_>, line: usize, what: &str, message: &str) -> Finding {
    let message = format!("line {line} names {message}, which the image does not have");
    Finding::new(RULE.name, (&file.path, file.node), what, message)
}

fn missing<'a>(subject: &Subject<'_>, rule: &Named<'a>) -> Option<(&'a str, String)> {
    match *rule {
        Named::Stack(name) => {
            let mut places = FOLDERS.iter().map(|dir| format!("{dir}/{name}"));
            let there = if name.starts_with('/') {
                subject.find(name).is_some()
            } else {
                places.any(|at| subject.find(&at).is_some())
            };
            (!there).then(|| (name, format!("the stack `{name}`")))
        }
        Named::Module(name) => {
            let there = if name.starts_with('/') {
                subject.find(name).is_some()
            } else {
                let triplet = subject.profile.arch.traits().triplet;
                [
                    format!("/usr/lib/{triplet}/security"),
                    "/usr/lib/security".into(),
                ]
                .iter()
                .any(|dir| subject.find(&format!("{dir}/{name}")).is_some())
            };
            (!there).then(|| (name, format!("the module `{name}`")))
        }
    }
}

/// What a line can't do without.
#[derive(Debug, PartialEq, Eq)]
enum Named<'a> {
    Module(&'a str),
    Stack(&'a str),
}

/// What the lines of a file of pam.d(5) name, with their numbers. A `-` before the type, and
/// `module_unknown=ignore`, say that it may be missing.
fn rules(text: &str) -> Vec<(usize, Named<'_>)> {
    let mut out = Vec::new();
    let mut continues = false;
    for (number, line) in (1..).zip(text.lines()) {
        // A continued line goes on with arguments of its module.
        let goes_on = std::mem::replace(&mut continues, line.ends_with('\\'));
        let line = line.split('#').next().unwrap_or_default().trim();
        if goes_on || line.is_empty() || line.starts_with('-') {
            continue;
        }
        out.extend(named(line).map(|named| (number, named)));
    }
    out
}

fn named(line: &str) -> Option<Named<'_>> {
    let (kind, rest) = line.split_once(|c: char| c.is_ascii_whitespace())?;
    let rest = rest.trim_start();
    if kind == "@include" {
        return rest.split_ascii_whitespace().next().map(Named::Stack);
    }
    let (control, rest) = if rest.starts_with('[') {
        let end = rest.find(']')?;
        rest.split_at(end + 1)
    } else {
        rest.split_once(|c: char| c.is_ascii_whitespace())?
    };
    if control.contains("module_unknown=ignore") {
        return None;
    }
    let name = rest.split_ascii_whitespace().next()?;
    Some(match control {
        "include" | "substack" => Named::Stack(name),
        _ => Named::Module(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::Image;

    #[test]
    fn stacks_name_what_is_there() {
        let login = "# auth required pam_gone0.so\n\
            auth\t[success=1 default=ignore]\tpam_unix.so nullok\n\
            auth required pam_gone1.so x\n\
            -session optional pam_gone2.so\n\
            session [success=ok module_unknown=ignore] pam_gone3.so\n\
            session required /usr/lib/x/pam_gone4.so\n\
            account required pam_unix.so \\\n  pam_arg.so\n\
            @include common-auth\n\
            @include gone5\n\
            password include other\n\
            password substack gone6\n";
        let image = Image::new(&[
            ("usr/share/factory/etc/pam.d/login", login),
            ("usr/share/factory/etc/pam.d/common-auth", ""),
            ("usr/lib/pam.d/other", ""),
            ("usr/lib/x86_64-linux-gnu/security/pam_unix.so", ""),
        ]);
        let found: Vec<_> = image
            .findings(&RULE)
            .iter()
            .map(|line| line.rsplit(' ').next().unwrap().to_owned())
            .collect();
        assert_eq!(
            found,
            ["/usr/lib/x/pam_gone4.so", "gone5", "gone6", "pam_gone1.so"]
        );
    }

    proptest::proptest! {
        #[test]
        fn no_stack_panics(text in "[a@\\[\\]\\\\# =\n-]{0,60}") {
            let _ = rules(&text);
        }
    }
}
