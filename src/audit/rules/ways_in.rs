//! Ways into a machine without being asked who one is.

use anyhow::Result;

use super::Rule;
use crate::audit::config;
use crate::audit::units::{Unit, Units};
use crate::audit::{Finding, Subject};
use crate::tree::policy::install::Scope;
use crate::tree::policy::words;

pub(super) const RULE: Rule = Rule {
    name: "ways-in",
    about: "An image that is not for development opens a shell without a password, or takes orders from \
            its hypervisor or from files that nobody has signed.",
    check,
};

/// What makes shells, units, accounts or keys of command-line words, credentials, SMBIOS or the ESP.
const ORDERS: [(&str, &str); 7] = [
    (
        "/usr/lib/systemd/system-generators/systemd-debug-generator",
        "makes units and shells of the command line and of credentials",
    ),
    (
        "/usr/lib/systemd/system-generators/systemd-run-generator",
        "runs what the command line says",
    ),
    (
        "/usr/lib/systemd/system-generators/systemd-import-generator",
        "downloads and starts what credentials name",
    ),
    (
        "/usr/lib/systemd/system-generators/systemd-ssh-generator",
        "opens sshd to the hypervisor",
    ),
    (
        "/usr/lib/systemd/system/debug-shell.service",
        "is a root shell on a console",
    ),
    (
        "/usr/lib/tmpfiles.d/provision.conf",
        "writes keys of root from credentials of the hypervisor",
    ),
    (
        "/usr/lib/tmpfiles.d/20-systemd-stub.conf",
        "takes what systemd-stub found on the ESP",
    ),
];

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    if subject.profile.development {
        return Ok(found);
    }
    for (at, what) in ORDERS {
        if let Some((path, node)) = subject.find(at)
            && node.content().is_some_and(|content| !content.is_empty())
        {
            let finding = Finding::new(RULE.name, (&path, node), "orders", what);
            found.push(finding.hint(format!("leave it out: add \"{path}\" to root.prune")));
        }
    }
    let units = Units::of(subject, Scope::System)?;
    for unit in units.that_may_run(subject) {
        found.extend(logins(subject, unit));
    }
    found.extend(sshd(subject)?);
    Ok(found)
}

/// Programs that let somebody in unasked: agetty with `--autologin`, login with `-f`, sulogin where it
/// is told to do without a password (systemd's own word for that is `SYSTEMD_SULOGIN_FORCE`).
fn logins(subject: &Subject<'_>, unit: &Unit) -> Vec<Finding> {
    let mut found = Vec::new();
    for line in unit.list("Service", "ExecStart") {
        let words = words::split(&line.value).unwrap_or_default();
        let Some((program, arguments)) = words.split_first() else {
            continue;
        };
        let has = |short: &str, long: &str| {
            let named = |word: &String| word == short || word.split('=').next() == Some(long);
            arguments.iter().any(named)
        };
        let unasked = match program.rsplit(['/', '-', '@', '+', '!', ':']).next() {
            Some("agetty" | "getty") => has("-a", "--autologin"),
            Some("login") => has("-f", "-f"),
            Some("sulogin") => has("-e", "--force"),
            Some("sh" | "bash" | "dash") => {
                arguments.is_empty() && unit.last("Service", "TTYPath").is_some()
            }
            _ => false,
        };
        if unasked {
            let message = "gives a shell to whoever has the console";
            found.extend(line.finding(RULE.name, subject, "shell", message));
        }
    }
    for line in unit.list("Service", "Environment") {
        let forced = |word: &str| {
            let value = word
                .trim_matches('"')
                .strip_prefix("SYSTEMD_SULOGIN_FORCE=");
            value.is_some_and(|value| value != "0")
        };
        if line.value.split_ascii_whitespace().any(forced) {
            let message = "gives a root shell without a password";
            found.extend(line.finding(RULE.name, subject, "shell", message));
        }
    }
    found
}

/// An SSH server that takes empty passwords.
fn sshd(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut files = config::texts(subject, &["/etc/ssh/sshd_config.d"], ".conf")?;
    files.extend(config::text(subject, "/etc/ssh/sshd_config")?);
    let mut found = Vec::new();
    for file in files {
        for (number, line) in (1..).zip(file.text.lines()) {
            let mut words = line.split(|c: char| c.is_ascii_whitespace() || c == '=');
            let mut next = || words.find(|word| !word.is_empty()).unwrap_or_default();
            if next().eq_ignore_ascii_case("PermitEmptyPasswords")
                && next().eq_ignore_ascii_case("yes")
            {
                let message = format!("line {number} lets in whoever has no password");
                found.push(Finding::new(
                    RULE.name,
                    (&file.path, file.node),
                    "PermitEmptyPasswords",
                    message,
                ));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::Image;

    fn image(service: &str) -> Image {
        Image::new(&[("usr/lib/systemd/system/a.service", service)])
    }

    #[test]
    fn nobody_gets_a_shell_unasked() {
        for (line, bad) in [
            (
                "ExecStart=-/sbin/agetty -o '-- \\\\u' --noclear - ${TERM}",
                false,
            ),
            ("ExecStart=-/sbin/agetty --autologin root - ${TERM}", true),
            ("ExecStart=@-agetty agetty -a root tty1", true),
            ("ExecStart=/bin/login -f root", true),
            (
                "ExecStart=/usr/lib/systemd/systemd-sulogin-shell rescue",
                false,
            ),
            ("Environment=A=1 SYSTEMD_SULOGIN_FORCE=1", true),
            ("ExecStart=/bin/bash\nTTYPath=/dev/tty9", true),
            ("ExecStart=/bin/sh -c x\nTTYPath=/dev/tty9", false),
        ] {
            let found = image(&format!("[Service]\n{line}\n")).findings(&RULE);
            assert_eq!(!found.is_empty(), bad, "{line}: {found:?}");
        }
    }

    #[test]
    fn orders_from_outside_are_for_development() {
        let mut image = Image::new(&[
            (
                "usr/lib/systemd/system-generators/systemd-debug-generator",
                "x",
            ),
            (
                "usr/share/factory/etc/ssh/sshd_config",
                "# PermitEmptyPasswords yes\npermitemptypasswords=yes\n",
            ),
            (
                "usr/share/factory/etc/ssh/sshd_config.d/a.conf",
                "PermitEmptyPasswords no\n",
            ),
        ]);
        assert_eq!(
            image.findings(&RULE),
            [
                "/usr/lib/systemd/system-generators/systemd-debug-generator: orders",
                "/usr/share/factory/etc/ssh/sshd_config: PermitEmptyPasswords",
            ]
        );
        image.profile.development = true;
        assert_eq!(image.findings(&RULE), [""; 0]);
    }
}
