use std::collections::BTreeSet;

use super::*;
use crate::arch::Arch;
use crate::erofs::Codec;

/// What the configurations of Debian's kernels say of every option of a topic.
pub(super) const KERNELS: [(&str, &str); 4] = [
    (
        "amd64",
        include_str!("../../../kernel-configs/debian/amd64.config"),
    ),
    (
        "cloud-amd64",
        include_str!("../../../kernel-configs/debian/cloud-amd64.config"),
    ),
    (
        "arm64",
        include_str!("../../../kernel-configs/debian/arm64.config"),
    ),
    (
        "cloud-arm64",
        include_str!("../../../kernel-configs/debian/cloud-arm64.config"),
    ),
];

/// Every topic that a kernel of `arch` can be asked for; boards' only of the one that boots them.
pub(super) fn everything(name: &str, arch: Arch) -> Vec<&'static Topic> {
    let topics: Vec<String> = BY_NAME
        .iter()
        .filter(|topic| **topic != "raspberry-pi-4" || name == "arm64")
        .map(ToString::to_string)
        .collect();
    needs(arch, &topics).asked()
}

fn needs(arch: Arch, topics: &[String]) -> Needs<'_> {
    Needs {
        arch,
        codec: Codec::Zstd,
        compressed_modules: true,
        locked_down: true,
        signed_root_hash: true,
        topics,
    }
}

#[test]
fn every_option_has_values_a_reason_a_feature_and_what_breaks() {
    for topic in TOPICS {
        let rules = topic.rules();
        assert!(
            !rules.is_empty() && topic.about().ends_with(['.', ')']),
            "{}",
            topic.name
        );
        let mut seen = BTreeSet::new();
        for rule in rules {
            let name = rule.option.strip_prefix("CONFIG_").unwrap_or_default();
            assert!(
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
                "{rule:?}"
            );
            let literal = rule.wanted.parse::<u64>().is_ok() || rule.wanted.starts_with('"');
            assert!(
                ["y", "m", "y|m", "n"].contains(&rule.wanted) || literal,
                "{rule:?}"
            );
            assert!(rule.why.ends_with(['.', ')']), "{rule:?}");
            assert!(
                !rule.feature.is_empty() && !rule.breaks.is_empty(),
                "{rule:?}"
            );
            assert!(
                seen.insert(rule.option),
                "twice in {}: {rule:?}",
                topic.name
            );
        }
    }
}

#[test]
fn topics_that_profiles_name_are_those_that_nothing_else_asks_for() {
    let by_name: Vec<_> = TOPICS
        .iter()
        .filter(|topic| topic.asked == Asked::ByName)
        .map(|topic| topic.name)
        .collect();
    assert_eq!(by_name, BY_NAME);
}

#[test]
fn debians_kernels_meet_the_contract_and_each_option_that_goes_is_noticed() {
    for (name, text) in KERNELS {
        let config = Config::parse(text);
        let topics = everything(name, config.arch().unwrap());
        assert_eq!(check(&config, &topics).unmet, [], "{name}");
        for topic in &topics {
            for rule in topic.rules() {
                if rule.level == Level::Recommended {
                    continue;
                }
                // Off is `n`, and what is to be off is on; a literal is another one.
                let instead = if rule.takes("n") { "y" } else { "n" };
                let line = |line: &&str| !line.starts_with(&format!("{}=", rule.option));
                let mut changed: String =
                    text.lines().filter(line).flat_map(|l| [l, "\n"]).collect();
                changed += &format!("{}={instead}\n", rule.option);
                let unmet = check(&Config::parse(&changed), &topics).unmet;
                let options: Vec<_> = unmet.iter().map(|unmet| unmet.option).collect();
                assert_eq!(options, [rule.option], "{name}");
            }
        }
    }
}

#[test]
fn an_option_that_is_off_is_named_with_the_reason() {
    let verity = [named("verity").unwrap()];
    let config = "CONFIG_MD=y\nCONFIG_BLK_DEV_DM=m\n# CONFIG_DM_VERITY is not set\n\
                  CONFIG_DM_VERITY_FEC=y\nCONFIG_CRYPTO_SHA256=y\n";
    let unmet = check(&Config::parse(config), &verity).unmet;
    assert_eq!(
        unmet.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "CONFIG_DM_VERITY is n, wanted y|m: Every block of /usr is checked against the root \
             hash in the signed command line. (the verified /usr; without: /usr is not mounted, \
             and the boot fails in the initrd)"
        ]
    );
    let module = config.replace("CONFIG_MD=y", "CONFIG_MD=m");
    let unmet = check(&Config::parse(&module), &verity).unmet;
    assert_eq!((&*unmet[0].found, unmet[0].wanted), ("m", "y"));
}

#[test]
fn what_the_image_does_not_use_is_not_asked_for() {
    let none = Needs {
        codec: Codec::None,
        compressed_modules: false,
        locked_down: false,
        signed_root_hash: false,
        ..needs(Arch::X86_64, &[])
    };
    let names = |needs: Needs<'_>| {
        let asked = needs.asked();
        asked
            .iter()
            .map(|topic| topic.name)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let base = "base verity filesystems";
    assert_eq!(names(none), format!("{base} x86_64"));
    for (needs, wanted) in [
        (
            Needs {
                codec: Codec::Lz4hc,
                ..none
            },
            "erofs-compressed x86_64",
        ),
        (
            Needs {
                codec: Codec::Zstd,
                ..none
            },
            "erofs-compressed erofs-zstd x86_64",
        ),
        (
            Needs {
                compressed_modules: true,
                ..none
            },
            "modules-compressed x86_64",
        ),
        (
            Needs {
                locked_down: true,
                ..none
            },
            "lockdown x86_64",
        ),
        (
            Needs {
                signed_root_hash: true,
                ..none
            },
            "verity-signature x86_64",
        ),
        (
            Needs {
                arch: Arch::Arm64,
                ..none
            },
            "arm64",
        ),
        (
            Needs {
                topics: &["cloud".to_owned()],
                ..none
            },
            "x86_64 cloud",
        ),
    ] {
        assert_eq!(names(needs), format!("{base} {wanted}"));
    }
}

#[test]
fn anything_at_all_can_be_read_as_a_configuration() {
    for bytes in [
        &b""[..],
        b"\xff\xfe=\0\n=\n",
        b"CONFIG_",
        b"CONFIG_=\nCONFIG_A",
    ] {
        assert!(ensure("1", bytes, needs(Arch::X86_64, &[])).is_err());
    }
}

#[test]
fn a_broken_contract_is_a_finding_of_the_audit() {
    let good = KERNELS[0].1;
    let needs = needs(Arch::X86_64, &[]);
    assert!(ensure("6.12.1", good.as_bytes(), needs).is_ok());
    let bad = good.replace("CONFIG_OVERLAY_FS=m", "");
    let error = ensure("6.12.1", bad.as_bytes(), needs).unwrap_err();
    let failure = error.downcast_ref::<Failure>().unwrap();
    assert_eq!(failure.kind, Kind::Audit);
    assert!(failure.message.contains("6.12.1"), "{failure}");
    assert!(
        failure
            .message
            .contains("CONFIG_OVERLAY_FS is n, wanted y|m"),
        "{failure}"
    );
}
