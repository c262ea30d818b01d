//! Words of the kernel's command line that no image for production may have, wherever they come
//! from: the profile, or an addon that is added on a node.

/// The words of a line, as the kernel and systemd cut it: at spaces outside of double quotes.
#[must_use]
pub fn split(line: &str) -> Vec<&str> {
    let mut quoted = false;
    line.split(|c: char| {
        quoted ^= c == '"';
        c.is_ascii_whitespace() && !quoted
    })
    .filter(|word| !word.is_empty())
    .collect()
}

/// Checks that a word is well formed, and not one that hullwright writes itself.
///
/// # Errors
/// What was expected.
pub fn check(word: &str) -> Result<(), String> {
    super::checks::cmdline(word)
}

/// Why a word is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It gives somebody a shell, runs something, or takes configuration from outside.
    OpensAWayIn,
    /// It switches a protection off that hullwright switches on.
    Undoes(&'static str),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::OpensAWayIn => f.write_str("opens a way in"),
            Self::Undoes(what) => write!(f, "undoes {what}"),
        }
    }
}

/// Keys that open a way in, with `_` for `-`, which systemd takes for the same, and without `rd.`,
/// which makes most of them the initrd's.
const WAYS_IN: [&str; 21] = [
    "1",
    "emergency",
    "rescue",
    "s",
    "S",
    "single",
    "_b",
    "break",
    "shell",
    "systemd.confirm_spawn",
    "systemd.crash_shell",
    "systemd.debug_shell",
    "systemd.default_debug_tty",
    "systemd.import_credentials",
    "systemd.mask",
    "systemd.run",
    "systemd.set_credential",
    "systemd.set_credential_binary",
    "systemd.setenv",
    "systemd.unit",
    "systemd.wants",
];

const SIGNED_MODULES: &str = "that only signed modules are loaded";
const LOCKDOWN: &str = "the kernel's lockdown";
const VERITY: &str = "that damage of /usr is never returned";

/// Why an image for production must not have `word`; nothing where it may.
#[must_use]
pub fn refusal(word: &str) -> Option<Refusal> {
    let (key, value) = match word.split_once('=') {
        Some((key, value)) => (key, Some(value)),
        None => (word, None),
    };
    let value = value.map(|value| value.trim_matches('"'));
    // The kernel and systemd both read `-` as `_` (Documentation/admin-guide/kernel-parameters.rst).
    let key = key.trim_matches('"').replace('-', "_");
    let key = key.strip_prefix("rd.").unwrap_or(&key);
    if WAYS_IN.contains(&key) {
        return Some(Refusal::OpensAWayIn);
    }
    match (key, value) {
        ("module.sig_enforce", None | Some("1" | "y" | "Y" | "on")) => None,
        ("module.sig_enforce", _) => Some(Refusal::Undoes(SIGNED_MODULES)),
        // Only ever raised, and `integrity` is there already.
        ("lockdown", Some("integrity" | "confidentiality")) => None,
        ("lockdown", _) => Some(Refusal::Undoes(LOCKDOWN)),
        ("dm_verity.require_signatures", None | Some("1" | "y" | "Y" | "on")) => None,
        ("dm_verity.require_signatures", _) => {
            Some(Refusal::Undoes("that the root hash must be signed"))
        }
        ("systemd.verity_usr_options", Some(options))
            if options
                .split(',')
                .any(|option| matches!(option, "ignore-corruption" | "check-at-most-once")) =>
        {
            Some(Refusal::Undoes(VERITY))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_as_the_kernel_does() {
        for (line, words) in [
            ("", &[][..]),
            ("  a  b=c ", &["a", "b=c"]),
            ("a=\"b c\" \"d e=f\"", &["a=\"b c\"", "\"d e=f\""]),
        ] {
            assert_eq!(split(line), words, "{line}");
        }
    }

    #[test]
    fn words_are_known_however_they_are_spelled() {
        for word in [
            "rescue",
            "S",
            "-b",
            "1",
            "rd.shell",
            "rd.break=pre-mount",
            "systemd.debug-shell",
            "rd.systemd.debug_shell=1",
            "systemd.unit=rescue.target",
            "rd.systemd.unit=rescue.target",
            "systemd.crash-shell",
            "systemd.import_credentials=yes",
            "systemd.set-credential=a:b",
            "\"systemd.setenv=a=b c\"",
        ] {
            assert_eq!(refusal(word), Some(Refusal::OpensAWayIn), "{word}");
        }
        for word in [
            "module.sig_enforce=0",
            "module.sig-enforce=n",
            "lockdown",
            "lockdown=none",
            "dm_verity.require_signatures=0",
            "dm-verity.require-signatures=off",
            "systemd.verity_usr_options=panic-on-corruption,ignore-corruption",
            "systemd.verity-usr-options=check-at-most-once",
        ] {
            assert!(matches!(refusal(word), Some(Refusal::Undoes(_))), "{word}");
        }
        for word in [
            "rw",
            "panic=10",
            "console=ttyS0,115200",
            "lockdown=confidentiality",
            "module.sig_enforce=1",
            "systemd.verity_usr_options=panic-on-corruption",
            "systemd.log_level=debug",
            "systemd.unit_name",
            "quiet",
            "",
        ] {
            assert_eq!(refusal(word), None, "{word}");
        }
    }
}
