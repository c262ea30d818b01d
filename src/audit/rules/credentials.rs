//! Credentials that let somebody in.

use anyhow::Result;

use super::Rule;
use crate::audit::config;
use crate::audit::units::{Line, Units};
use crate::audit::{Finding, Subject};
use crate::tree::policy::install::Scope;
use crate::words::glob;

pub(super) const RULE: Rule = Rule {
    name: "credentials",
    about: "An image that is not for development has a credential that opens a way in, or a unit takes one \
            from the ESP or from the firmware's tables, which nobody has signed. PID 1 itself takes none: \
            the command line says so.",
    check,
};

/// Credentials of systemd.system-credentials(7) that let somebody in, or run what they say.
const WAYS_IN: [&str; 10] = [
    "agetty.autologin",
    "getty.auto",
    "login.noauth",
    "passwd.hashed-password.*",
    "passwd.plaintext-password.*",
    "ssh.authorized_keys.*",
    "ssh.ephemeral-authorized_keys-all",
    "systemd.extra-unit.*",
    "systemd.unit-dropin.*",
    "userdb.*",
];

/// Where whoever writes to the disk, or the hypervisor, leaves files (systemd-stub(7), "Files").
const UNSIGNED: [&str; 4] = ["/.extra/", "/boot/", "/efi/", "/sys/firmware/"];

/// Where units find credentials by name (systemd.exec(5), `LoadCredential=`).
const STORES: [&str; 6] = [
    "/etc/credstore",
    "/etc/credstore.encrypted",
    "/usr/local/lib/credstore",
    "/usr/local/lib/credstore.encrypted",
    "/usr/lib/credstore",
    "/usr/lib/credstore.encrypted",
];

fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    if subject.profile.development {
        return Ok(found);
    }
    let units = Units::of(subject, Scope::System)?;
    for unit in units.that_may_run(subject) {
        let list = |key| unit.list("Service", key).into_iter();
        let set = list("SetCredential").chain(list("SetCredentialEncrypted"));
        for line in set {
            let name = name_of(line);
            if opens(name) {
                found.extend(line.finding(RULE.name, subject, name, "opens a way in"));
            }
        }
        let loads = list("LoadCredential").chain(list("LoadCredentialEncrypted"));
        for line in loads {
            let path = line.value.split_once(':').map_or("", |(_, path)| path);
            if UNSIGNED.iter().any(|place| path.starts_with(place)) {
                let message = "takes what nobody has signed";
                found.extend(line.finding(RULE.name, subject, name_of(line), message));
            }
        }
    }
    for (name, at) in config::names(subject, &STORES, "") {
        if let Some((path, node)) = subject.find(&at).filter(|_| opens(&name)) {
            found.push(Finding::new(
                RULE.name,
                (&path, node),
                name,
                "opens a way in",
            ));
        }
    }
    Ok(found)
}

fn name_of(line: &Line) -> &str {
    line.value.split(':').next().unwrap_or_default()
}

fn opens(name: &str) -> bool {
    WAYS_IN.iter().any(|way| glob::matches(way, name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::Image;

    #[test]
    fn nothing_unsigned_lets_anybody_in() {
        let service = "[Service]\n\
            SetCredential=passwd.plaintext-password.root:x\n\
            SetCredential=journal.forward:x\n\
            LoadCredential=token:/boot/loader/credentials/token\n\
            LoadCredential=key:/etc/key\n\
            ImportCredential=a.*\n";
        let mut image = Image::new(&[
            ("usr/lib/systemd/system/a.service", service),
            ("usr/lib/credstore/ssh.authorized_keys.root", "x"),
            ("usr/share/factory/etc/credstore/tls.key", "x"),
        ]);
        assert_eq!(
            image.findings(&RULE),
            [
                "/usr/lib/credstore/ssh.authorized_keys.root: ssh.authorized_keys.root",
                "/usr/lib/systemd/system/a.service: passwd.plaintext-password.root",
                "/usr/lib/systemd/system/a.service: token",
            ]
        );
        image.profile.development = true;
        assert_eq!(image.findings(&RULE), [""; 0]);
    }
}
