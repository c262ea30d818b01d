//! `/etc/pam.d/common-*`: what Debian's pam-auth-update makes of the templates in `/usr/share/pam` and
//! the profiles in `/usr/share/pam-configs` that are on by default.

use std::fmt::Write as _;

use anyhow::{Context, Result};

use crate::failure::{Failure, Kind};
use crate::tree::Tree;

use super::edit::{Editor, exists, files_in, path, text};

const TEMPLATES: &str = "usr/share/pam";
const PROFILES: &str = "usr/share/pam-configs";
const STACKS: [(&str, &str); 5] = [
    ("common-auth", "Auth"),
    ("common-account", "Account"),
    ("common-password", "Password"),
    ("common-session", "Session"),
    ("common-session-noninteractive", "Session"),
];

/// One file of pam-configs: `Key: value` lines, and blocks of indented module lines.
#[derive(Debug, Default, PartialEq, Eq)]
struct PamProfile {
    name: String,
    fields: Vec<(String, String)>,
    blocks: Vec<(String, Vec<String>)>,
}

impl PamProfile {
    fn parse(name: &str, text: &str) -> Self {
        let mut out = Self {
            name: name.into(),
            ..Self::default()
        };
        for line in text.lines() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            if line.starts_with([' ', '\t']) {
                if let Some((_, lines)) = out.blocks.last_mut() {
                    lines.push(line.trim().to_owned());
                }
            } else if let Some((key, value)) = line.split_once(':') {
                match value.trim() {
                    "" => out.blocks.push((key.into(), Vec::new())),
                    value => out.fields.push((key.into(), value.into())),
                }
            }
        }
        out
    }

    fn field(&self, key: &str) -> &str {
        self.fields
            .iter()
            .find(|(k, _)| k == key)
            .map_or("", |(_, v)| v)
    }

    fn block(&self, key: &str) -> Option<&[String]> {
        self.blocks
            .iter()
            .find(|(k, _)| k == key)
            .map(|(_, lines)| lines.as_slice())
    }
}

/// Writes the five stacks, if PAM is in the tree.
///
/// # Errors
/// A template that is missing, or profiles that leave a stack without any authentication.
pub fn write(tree: &mut Tree) -> Result<()> {
    if !exists(tree, TEMPLATES) || !exists(tree, "etc/pam.d") {
        return Ok(());
    }
    let mut profiles = Vec::new();
    for file in files_in(tree, PROFILES, "")? {
        let name = String::from_utf8_lossy(file.name()).into_owned();
        let profile = PamProfile::parse(&name, &text(tree, &file)?.unwrap_or_default());
        if profile.field("Default") == "yes" {
            profiles.push(profile);
        }
    }
    profiles.sort_by_key(|p| {
        let priority = p.field("Priority").parse::<i64>().unwrap_or(0);
        (std::cmp::Reverse(priority), p.name.clone())
    });
    for (file, kind) in STACKS {
        let at = format!("{TEMPLATES}/{file}");
        let template = text(tree, &path(&at)?)?.ok_or_else(|| {
            Failure::new(
                Kind::Audit,
                format!("the PAM template /{at} is missing, so /etc/pam.d/{file} cannot be made"),
            )
            .hint("do not prune /usr/share/pam: it is read while the image is built")
        })?;
        let stack = render(file, kind, &template, &profiles)
            .with_context(|| format!("making /etc/pam.d/{file}"))?;
        Editor::new(tree, "pam").write(&format!("etc/pam.d/{file}"), 0o644, stack.as_str())?;
    }
    Ok(())
}

fn render(file: &str, kind: &str, template: &str, profiles: &[PamProfile]) -> Result<String> {
    let interactive = file != "common-session-noninteractive";
    let names: Vec<&str> = profiles.iter().map(|p| p.name.as_str()).collect();
    let mut out = format!(
        "# Made by hullwright from pam-configs: {}.\n",
        names.join(", ")
    );
    for line in template.lines() {
        let line = line.trim_end();
        if line.starts_with('#') || line.is_empty() {
            continue;
        }
        let Some(variable) = line.strip_prefix('$') else {
            writeln!(out, "{line}")?;
            continue;
        };
        let block = if variable.ends_with("_primary") {
            "Primary"
        } else if variable.ends_with("_additional") {
            "Additional"
        } else {
            anyhow::bail!(
                "the template has the variable `${variable}`; expected one that ends in _primary or _additional"
            );
        };
        let lines = modules(kind, block, interactive, profiles);
        let service = kind.to_ascii_lowercase();
        if lines.is_empty() && block == "Primary" {
            if kind != "Session" {
                return Err(Failure::new(
                    Kind::Audit,
                    format!("no PAM profile provides {kind}: every login would succeed or fail unasked"),
                )
                .hint("install libpam-runtime's profile `unix`, or do not prune /usr/share/pam-configs")
                .into());
            }
            // Nothing decides: jump over pam_deny.
            writeln!(out, "{service}\t[default=1]\tpam_permit.so")?;
        }
        let count = lines.len();
        for (index, module) in lines.iter().enumerate() {
            // `end` jumps behind the block, and behind the pam_deny that follows a primary one.
            let rest = count - index - usize::from(block == "Additional");
            writeln!(
                out,
                "{service}\t{}",
                module.replace("=end", &format!("={rest}"))
            )?;
        }
    }
    Ok(out)
}

/// The module lines of one block over all profiles; the first primary one uses its `-Initial` form,
/// which does not expect a password from a module before it.
fn modules(kind: &str, block: &str, interactive: bool, profiles: &[PamProfile]) -> Vec<String> {
    let mut out = Vec::new();
    for profile in profiles {
        if profile.field(&format!("{kind}-Type")) != block
            || (!interactive && profile.field("Session-Interactive-Only") == "yes")
        {
            continue;
        }
        let initial = profile
            .block(&format!("{kind}-Initial"))
            .filter(|_| out.is_empty() && block == "Primary");
        let lines = initial.or_else(|| profile.block(kind)).unwrap_or_default();
        out.extend(lines.iter().map(|line| {
            // Control in brackets may hold blanks; only the first gap becomes a tab.
            let gap = match line.find(']') {
                Some(end) if line.starts_with('[') => end + 1,
                _ => line.find([' ', '\t']).unwrap_or(line.len()),
            };
            let (control, module) = line.split_at(gap);
            format!("{control}\t{}", module.trim_start())
        }));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIX: &str = "Name: Unix\nDefault: yes\nPriority: 256\nAuth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_unix.so nullok try_first_pass\nAuth-Initial:\n\t[success=end default=ignore]\tpam_unix.so nullok\nSession-Type: Additional\nSession:\n\trequired\tpam_unix.so\n";
    const KRB5: &str = "Default: yes\nPriority: 704\nAuth-Type: Primary\nAuth:\n\t[success=end default=ignore]\tpam_krb5.so minimum_uid=1000\n";
    const SYSTEMD: &str = "Default: yes\nPriority: 0\nSession-Interactive-Only: yes\nSession-Type: Additional\nSession:\n\toptional\tpam_systemd.so\n";
    const AUTH: &str = "# x\n$auth_primary\nauth\trequisite\tpam_deny.so\nauth\trequired\tpam_permit.so\n$auth_additional\n";
    const SESSION: &str = "$session_primary\nsession\trequisite\tpam_deny.so\nsession optional\tpam_umask.so\n$session_additional\n";

    fn stack(file: &str, kind: &str, template: &str, profiles: &[&str]) -> Result<Vec<String>> {
        let profiles: Vec<_> = profiles.iter().map(|p| PamProfile::parse("p", p)).collect();
        let text = render(file, kind, template, &profiles)?;
        Ok(text.lines().skip(1).map(String::from).collect())
    }

    #[test]
    fn stacks_are_those_of_pam_auth_update() {
        for (file, kind, template, profiles, expected) in [
            (
                "common-auth",
                "Auth",
                AUTH,
                &[UNIX][..],
                &[
                    "auth\t[success=1 default=ignore]\tpam_unix.so nullok",
                    "auth\trequisite\tpam_deny.so",
                    "auth\trequired\tpam_permit.so",
                ][..],
            ),
            (
                "common-auth",
                "Auth",
                AUTH,
                &[KRB5, UNIX][..],
                &[
                    "auth\t[success=2 default=ignore]\tpam_krb5.so minimum_uid=1000",
                    "auth\t[success=1 default=ignore]\tpam_unix.so nullok try_first_pass",
                    "auth\trequisite\tpam_deny.so",
                    "auth\trequired\tpam_permit.so",
                ][..],
            ),
            (
                "common-session",
                "Session",
                SESSION,
                &[UNIX, SYSTEMD][..],
                &[
                    "session\t[default=1]\tpam_permit.so",
                    "session\trequisite\tpam_deny.so",
                    "session optional\tpam_umask.so",
                    "session\trequired\tpam_unix.so",
                    "session\toptional\tpam_systemd.so",
                ][..],
            ),
            (
                "common-session-noninteractive",
                "Session",
                SESSION,
                &[UNIX, SYSTEMD][..],
                &[
                    "session\t[default=1]\tpam_permit.so",
                    "session\trequisite\tpam_deny.so",
                    "session optional\tpam_umask.so",
                    "session\trequired\tpam_unix.so",
                ][..],
            ),
        ] {
            assert_eq!(
                stack(file, kind, template, profiles).unwrap(),
                expected,
                "{file}"
            );
        }
    }

    #[test]
    fn a_stack_that_asks_nobody_is_refused() {
        let error = stack("common-auth", "Auth", AUTH, &[SYSTEMD]).unwrap_err();
        assert!(format!("{error:#}").contains("no PAM profile"));
    }
}
