//! Who the system says it is: os-release, issue, issue.net.

use anyhow::Result;

use crate::profile::Profile;
use crate::tree::Tree;

use super::edit::{Editor, exists};

/// os-release(5) of the image. It knows no channel: promotion must not change bytes.
#[must_use]
pub fn render(profile: &Profile) -> String {
    let os = &profile.os;
    let mut lines = vec![
        ("NAME", quoted(&os.name)),
        ("ID", os.id.clone()),
        ("ID_LIKE", "debian".into()),
        (
            "PRETTY_NAME",
            quoted(&format!("{} {}", os.name, os.version)),
        ),
        ("VERSION_ID", quoted(&os.version)),
        // systemd-boot sorts by IMAGE_ID, then IMAGE_VERSION; sysupdate protects IMAGE_VERSION.
        ("IMAGE_ID", os.id.clone()),
        ("IMAGE_VERSION", quoted(&os.version)),
        (
            "DEFAULT_HOSTNAME",
            profile
                .root
                .hostname
                .clone()
                .unwrap_or_else(|| os.id.clone()),
        ),
    ];
    if profile.development {
        lines.push(("VARIANT", quoted("Development")));
        lines.push(("VARIANT_ID", "development".into()));
    }
    lines
        .iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect()
}

/// A value as the shell and systemd read it back.
fn quoted(value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    let mut out = String::from("\"");
    for c in value.chars().filter(|c| *c != '\n') {
        if "\"\\$`".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// Writes the files.
///
/// # Errors
/// None that a valid tree can cause.
pub fn write(tree: &mut Tree, profile: &Profile) -> Result<()> {
    let text = render(profile);
    // In issue files a backslash starts an escape of agetty.
    let title = format!("{} {}", profile.os.name, profile.os.version).replace('\\', "\\\\");
    let mark = if profile.development {
        "DEVELOPMENT image: anyone on this console or hypervisor is root. Not for production.\n"
    } else {
        ""
    };
    let mut edit = Editor::new(tree, "os-release");
    edit.write("usr/lib/os-release", 0o644, text.as_str())?;
    if !exists(edit.tree, "etc/os-release") {
        edit.symlink("etc/os-release", "../usr/lib/os-release")?;
    }
    edit.write(
        "etc/issue",
        0o644,
        format!("{title} \\n \\l\n{mark}\n").as_str(),
    )?;
    edit.write("etc/issue.net", 0o644, format!("{title}\n{mark}").as_str())
}

#[cfg(test)]
mod tests {
    #[test]
    fn values_are_quoted_where_the_shell_needs_it() {
        for (value, expected) in [
            ("1.2.3-dev", "1.2.3-dev"),
            ("1.0~rc1", "\"1.0~rc1\""),
            ("Hull \"W\" $x", "\"Hull \\\"W\\\" \\$x\""),
            ("", "\"\""),
        ] {
            assert_eq!(super::quoted(value), expected);
        }
    }
}
