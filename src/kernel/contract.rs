//! What an image asks of its kernel: the fragments of `kernel-configs/`, held against the
//! configuration that the kernel's package ships.
//!
//! A fragment is Kconfig's own form (`CONFIG_NAME=value`) with two additions: the comment above an
//! option is the reason for it, and a value may be a choice (`y|m`). An option that the
//! configuration does not name is `n`, as Kconfig writes no option whose dependencies are not met.

use std::collections::BTreeMap;

use crate::erofs::Codec;
use crate::failure::{Failure, Kind};

const BASE: &str = include_str!("../../kernel-configs/base.config");
const VERITY: &str = include_str!("../../kernel-configs/verity.config");
const FILESYSTEMS: &str = include_str!("../../kernel-configs/filesystems.config");
const EROFS_COMPRESSED: &str = include_str!("../../kernel-configs/erofs-compressed.config");
const EROFS_ZSTD: &str = include_str!("../../kernel-configs/erofs-zstd.config");
const MODULES_COMPRESSED: &str = include_str!("../../kernel-configs/modules-compressed.config");
const LOCKDOWN: &str = include_str!("../../kernel-configs/lockdown.config");
const VERITY_SIGNATURE: &str = include_str!("../../kernel-configs/verity-signature.config");

/// What differs from image to image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// How files of `/usr` are compressed.
    pub codec: Codec,
    /// Whether modules in `/usr` are compressed files.
    pub compressed_modules: bool,
    /// Whether the image is for production.
    pub locked_down: bool,
    /// Whether the kernel is to check a signature of the root hash.
    pub signed_root_hash: bool,
}

impl Needs {
    fn fragments(self) -> Vec<&'static str> {
        let mut out = vec![BASE, VERITY, FILESYSTEMS];
        if self.codec != Codec::None {
            out.push(EROFS_COMPRESSED);
        }
        if self.codec == Codec::Zstd {
            out.push(EROFS_ZSTD);
        }
        if self.compressed_modules {
            out.push(MODULES_COMPRESSED);
        }
        if self.locked_down {
            out.push(LOCKDOWN);
        }
        if self.signed_root_hash {
            out.push(VERITY_SIGNATURE);
        }
        out
    }
}

/// An option that is not as an image needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmet {
    /// The option, with `CONFIG_`.
    pub option: String,
    /// Its values that would do, with `|` between.
    pub wanted: String,
    /// Its value in the kernel's configuration; `n` where it is not set.
    pub found: String,
    /// What needs it.
    pub why: String,
}

impl std::fmt::Display for Unmet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            option,
            wanted,
            found,
            why,
        } = self;
        write!(f, "{option} is {found}, wanted {wanted}: {why}")
    }
}

/// The options of a kernel's configuration that are not as `needs` asks, in the fragments' order.
#[must_use]
pub fn check(config: &[u8], needs: Needs) -> Vec<Unmet> {
    let config = String::from_utf8_lossy(config);
    let values = values(&config);
    needs
        .fragments()
        .into_iter()
        .flat_map(rules)
        .filter_map(|rule| {
            let found = values.get(rule.option).copied().unwrap_or("n");
            let good = rule.wanted.split('|').any(|value| value == found);
            (!good).then(|| Unmet {
                option: rule.option.into(),
                wanted: rule.wanted.into(),
                found: found.into(),
                why: rule.why,
            })
        })
        .collect()
}

/// Fails unless the configuration of kernel `version` meets `needs`.
///
/// # Errors
/// It does not; the message has a line for each option.
pub fn ensure(version: &str, config: &[u8], needs: Needs) -> anyhow::Result<()> {
    let unmet = check(config, needs);
    if unmet.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = unmet.iter().map(|unmet| format!("  {unmet}")).collect();
    Err(Failure::new(
        Kind::Audit,
        format!(
            "kernel {version} can't run this image by its configuration:\n{}",
            list.join("\n")
        ),
    )
    .hint("name another kernel in kernel.package")
    .into())
}

/// One line of a fragment, with the comment above it.
#[derive(Debug, PartialEq, Eq)]
struct Rule<'a> {
    option: &'a str,
    wanted: &'a str,
    why: String,
}

fn rules(fragment: &str) -> Vec<Rule<'_>> {
    let mut out = Vec::new();
    let mut why: Vec<&str> = Vec::new();
    for line in fragment.lines().map(str::trim) {
        if let Some(comment) = line.strip_prefix('#') {
            why.push(comment.trim());
            continue;
        }
        if let Some((option, wanted)) = line.split_once('=') {
            out.push(Rule {
                option,
                wanted,
                why: why.join(" "),
            });
        }
        why.clear();
    }
    out
}

fn values(config: &str) -> BTreeMap<&str, &str> {
    config
        .lines()
        .filter(|line| line.starts_with("CONFIG_"))
        .filter_map(|line| line.trim_end().split_once('='))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERYTHING: Needs = Needs {
        codec: Codec::Zstd,
        compressed_modules: true,
        locked_down: true,
        signed_root_hash: true,
    };

    /// A configuration that meets every fragment, with `other` instead of the lines for its options.
    fn config(other: &str) -> String {
        let changed = values(other);
        let mut text = String::from("# Automatically generated file; DO NOT EDIT.\n");
        for rule in EVERYTHING.fragments().into_iter().flat_map(rules) {
            if !changed.contains_key(rule.option) && !other.contains(&format!("# {} ", rule.option))
            {
                let value = rule.wanted.split('|').next_back().unwrap();
                text.push_str(&format!("{}={value}\n", rule.option));
            }
        }
        text + other
    }

    #[test]
    fn every_line_of_a_fragment_is_an_option_with_values_and_a_reason() {
        for fragment in EVERYTHING.fragments() {
            let rules = rules(fragment);
            let lines = fragment
                .lines()
                .filter(|line| !line.is_empty() && !line.starts_with('#'))
                .count();
            assert_eq!(rules.len(), lines);
            assert!(!rules.is_empty());
            for rule in rules {
                assert!(rule.option.starts_with("CONFIG_"), "{rule:?}");
                assert!(["y", "m", "y|m"].contains(&rule.wanted), "{rule:?}");
                assert!(rule.why.ends_with(['.', ')']), "{rule:?}");
            }
        }
    }

    #[test]
    fn a_configuration_with_everything_is_good() {
        assert_eq!(check(config("").as_bytes(), EVERYTHING), []);
    }

    #[test]
    fn an_option_that_is_off_is_named_with_the_reason() {
        for off in ["# CONFIG_DM_VERITY is not set\n", "CONFIG_DM_VERITY=n\n"] {
            let unmet = check(config(off).as_bytes(), EVERYTHING);
            assert_eq!(
                unmet.iter().map(ToString::to_string).collect::<Vec<_>>(),
                [
                    "CONFIG_DM_VERITY is n, wanted y|m: Every block of /usr is checked against \
                     the root hash in the signed command line."
                ]
            );
        }
    }

    #[test]
    fn a_module_does_not_do_where_it_must_be_built_in() {
        let unmet = check(config("CONFIG_EFI_STUB=m\n").as_bytes(), EVERYTHING);
        assert_eq!(unmet.len(), 1);
        assert_eq!((&*unmet[0].found, &*unmet[0].wanted), ("m", "y"));
    }

    #[test]
    fn what_the_image_does_not_use_is_not_asked_for() {
        let without = "# CONFIG_EROFS_FS_ZIP_ZSTD is not set\n\
                       # CONFIG_EROFS_FS_ZIP is not set\n\
                       # CONFIG_MODULE_DECOMPRESS is not set\n";
        for (codec, compressed_modules, unmet) in [
            (Codec::None, false, vec![]),
            (Codec::Lz4hc, false, vec!["CONFIG_EROFS_FS_ZIP"]),
            (
                Codec::Zstd,
                true,
                vec![
                    "CONFIG_EROFS_FS_ZIP",
                    "CONFIG_EROFS_FS_ZIP_ZSTD",
                    "CONFIG_MODULE_DECOMPRESS",
                ],
            ),
        ] {
            let needs = Needs {
                codec,
                compressed_modules,
                ..EVERYTHING
            };
            let found: Vec<String> = check(config(without).as_bytes(), needs)
                .into_iter()
                .map(|unmet| unmet.option)
                .collect();
            assert_eq!(found, unmet, "{needs:?}");
        }
    }

    #[test]
    fn protections_are_asked_for_where_they_are_switched_on() {
        let without = "# CONFIG_MODULE_SIG is not set\n\
                       # CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG is not set\n";
        for (locked_down, signed_root_hash, wanted) in [
            (false, false, &[][..]),
            (true, false, &["CONFIG_MODULE_SIG"]),
            (false, true, &["CONFIG_DM_VERITY_VERIFY_ROOTHASH_SIG"]),
        ] {
            let needs = Needs {
                locked_down,
                signed_root_hash,
                ..EVERYTHING
            };
            let found: Vec<String> = check(config(without).as_bytes(), needs)
                .into_iter()
                .map(|unmet| unmet.option)
                .collect();
            assert_eq!(found, wanted, "{needs:?}");
        }
    }

    #[test]
    fn a_longer_name_is_not_mistaken_for_the_option() {
        let other = "# CONFIG_EFI is not set\nCONFIG_EFI_EARLYCON=y\n";
        let unmet = check(config(other).as_bytes(), EVERYTHING);
        assert_eq!(unmet.len(), 1);
        assert_eq!(unmet[0].option, "CONFIG_EFI");
    }

    #[test]
    fn anything_at_all_can_be_read_as_a_configuration() {
        for bytes in [
            &b""[..],
            b"\xff\xfe=\0\n=\n",
            b"CONFIG_",
            b"CONFIG_=\nCONFIG_A",
        ] {
            assert!(!check(bytes, EVERYTHING).is_empty());
        }
    }

    #[test]
    fn a_broken_contract_is_a_finding_of_the_audit() {
        let bad = config("# CONFIG_OVERLAY_FS is not set\n");
        let error = ensure("6.12.1", bad.as_bytes(), EVERYTHING).unwrap_err();
        let failure = error.downcast_ref::<Failure>().unwrap();
        assert_eq!(failure.kind, Kind::Audit);
        assert!(failure.message.contains("6.12.1"), "{failure}");
        assert!(
            failure
                .message
                .contains("CONFIG_OVERLAY_FS is n, wanted y|m"),
            "{failure}"
        );
        assert!(ensure("6.12.1", config("").as_bytes(), EVERYTHING).is_ok());
    }
}
