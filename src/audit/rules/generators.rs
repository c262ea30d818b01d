//! Programs that systemd runs because they lie in a folder.

use anyhow::Result;

use super::Rule;
use crate::audit::{Finding, Subject, config};

pub(super) const RULE: Rule = Rule {
    name: "generators",
    about: "A generator, or a program for shutdown or sleep, is not executable: systemd passes over it \
            without a word, and the units that it makes are missing.",
    check,
};

/// Below `systemd/` (systemd.generator(7), systemd.environment-generator(7)), and what runs at
/// shutdown and around sleep (systemd-shutdown(8), systemd-sleep(8)).
const FOLDERS: [&str; 6] = [
    "system-generators",
    "user-generators",
    "system-environment-generators",
    "user-environment-generators",
    "system-shutdown",
    "system-sleep",
];

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        let folders =
            ["/etc", "/usr/local/lib", "/usr/lib"].map(|top| format!("{top}/systemd/{folder}"));
        let folders = folders.each_ref().map(String::as_str);
        for at in config::names(subject, &folders, "").values() {
            // A link to /dev/null switches one off.
            let Some((path, node)) = subject.find(at) else {
                continue;
            };
            if node.content().is_some_and(|content| !content.is_empty())
                && node.meta.mode & 0o111 == 0
            {
                let message = "lies among programs that systemd runs, and is not executable";
                found.push(
                    Finding::new(RULE.name, (&path, node), "mode", message)
                        .hint(format!("give it the mode 0755, or prune {path}")),
                );
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file, link};

    #[test]
    fn generators_are_executable_or_switched_off() {
        let image = Image::new(&[("usr/lib/systemd/system-generators/plain", "x")])
            .with("usr/lib/systemd/user-generators/good", file(0o755, "x"))
            .with("usr/lib/systemd/system-sleep/good", file(0o755, "x"))
            .with(
                "usr/share/factory/etc/systemd/system-generators/off",
                link("/dev/null"),
            );
        assert_eq!(
            image.findings(&RULE),
            ["/usr/lib/systemd/system-generators/plain: mode"]
        );
    }
}
