//! `docs/kernel.md`, generated from the fragments, from what Debian's kernels say of their options, and
//! from lists of what others ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Deserialize;

use super::tests::{KERNELS, everything};
use super::{Asked, Config, Level, TOPICS, Topic, check};
use crate::tree::glob::Glob;

const SOURCES: [&str; 4] = [
    include_str!("../../../kernel-configs/coverage/moby.yaml"),
    include_str!("../../../kernel-configs/coverage/systemd.yaml"),
    include_str!("../../../kernel-configs/coverage/kspp.yaml"),
    include_str!("../../../kernel-configs/coverage/flatcar.yaml"),
];

const INTRODUCTION: &str = "\
# The kernel

<!-- Generated from `kernel-configs/` by `src/kernel/contract/reference.rs`; change it there. -->

An image takes its kernel from a package, and what that kernel can do was decided by whoever configured
it. hullwright holds the configuration that the package ships (`/boot/config-VERSION`) against a written
contract, in every build: an option that is not as the image needs it ends the build with exit status 5,
and the message names the option, what needs it and what breaks without.

The contract has topics. Some are asked of every image, some follow from the profile or the
architecture, and the rest are named by the profile in
[`kernel.contract`](profile.md#kernel):

```yaml
kernel:
  contract: [containers, networking]
```

`container-host` names all of them that are not for a board. An option is *required*, or *recommended*:
images run without the latter, and `hullwright kernel check` lists those that are lacking.

```console
$ hullwright kernel check qemu                             the kernel of a profile
$ hullwright kernel check /boot/config-6.12.117+deb13-amd64  any configuration
$ hullwright kernel check qemu --topic hardening
$ hullwright kernel diff qemu rpi4                         what another kernel has instead
```

Values are those of Kconfig: `y` is built in, `m` a module, `y|m` either, `n` not set; anything else is
meant literally.
";

/// What somebody else asks of a kernel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Source {
    name: String,
    url: String,
    version: String,
    options: Vec<String>,
    left_out: Vec<LeftOut>,
}

/// What the contract leaves out of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeftOut {
    why: String,
    options: Vec<String>,
}

fn sources() -> Vec<Source> {
    SOURCES
        .iter()
        .map(|text| serde_yaml::from_str(text).unwrap())
        .collect()
}

/// Names of options with the topics that have them.
fn covered() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut out: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for topic in TOPICS {
        for rule in topic.rules() {
            let name = rule.option.trim_start_matches("CONFIG_");
            out.entry(name).or_default().push(topic.name);
        }
    }
    out
}

impl LeftOut {
    fn names(&self, option: &str) -> bool {
        self.options.iter().any(|pattern| {
            let glob = Glob::new(&format!("/{pattern}")).unwrap();
            glob.matches_components(&[option.as_bytes()])
        })
    }
}

fn asked(topic: &Topic) -> &'static str {
    match topic.asked {
        Asked::Always => "Asked of every image.",
        Asked::For(_) => "Asked of every image for the architecture.",
        Asked::Compressed => "Asked of images whose `root.compression.codec` is not `none`.",
        Asked::Zstd => "Asked of images whose `root.compression.codec` is `zstd`.",
        Asked::CompressedModules => "Asked of images whose kernel has compressed modules.",
        Asked::LockedDown => "Asked of images that are not for development.",
        Asked::SignedRootHash => "Asked of images whose `boot.verity_signature` is `require`.",
        Asked::ByName => "Asked of images whose profile or board names it.",
    }
}

fn reference() -> String {
    let mut out = INTRODUCTION.to_owned();
    out += "\n## Topics\n";
    for topic in TOPICS {
        writeln!(
            out,
            "\n### `{}`\n\n{} {}",
            topic.name,
            topic.about(),
            asked(topic)
        )
        .unwrap();
        let mut feature = "";
        for rule in topic.rules() {
            if rule.feature != feature {
                feature = rule.feature;
                let breaks = rule.breaks;
                writeln!(
                    out,
                    "\n**{feature}**; without what is required: {breaks}.\n"
                )
                .unwrap();
                out += "| Option | Value | | Why |\n|---|---|---|---|\n";
            }
            let level = match rule.level {
                Level::Required => "required",
                Level::Recommended => "recommended",
            };
            let value = rule.wanted.replace('|', "\\|");
            writeln!(
                out,
                "| `{}` | `{value}` | {level} | {} |",
                rule.option, rule.why
            )
            .unwrap();
        }
    }
    out += "\n## What Debian's kernels lack\n\n";
    out += "All of these have everything that is required, of every topic (the Raspberry Pi's of `arm64` \
            alone). What is recommended and lacking:\n\n| Option |";
    let mut lacking: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    for (name, text) in KERNELS {
        let config = Config::parse(text);
        write!(out, " {name} |").unwrap();
        for unmet in check(&config, &everything(name, config.arch().unwrap())).lacking {
            lacking
                .entry(unmet.option)
                .or_default()
                .insert(name, unmet.found);
        }
    }
    out += "\n|---|---|---|---|---|\n";
    for (option, found) in &lacking {
        write!(out, "| `{option}` |").unwrap();
        for (name, _) in KERNELS {
            match found.get(name) {
                Some(value) => write!(out, " `{value}` |").unwrap(),
                None => out += " |",
            }
        }
        out.push('\n');
    }
    for (_, text) in KERNELS {
        let version = text.lines().next().unwrap().trim_start_matches("# ");
        writeln!(out, "\n{}.", version.split(':').next().unwrap()).unwrap();
    }
    out += "\n## What others ask for\n\nOptions that each names, and how many of them the contract has, \
            whatever their value.\n\n| Source | Version | Options | In the contract | Left out |\n\
            |---|---|---|---|---|\n";
    let covered = covered();
    for source in sources() {
        let has = |option: &&String| covered.contains_key(option.as_str());
        let (all, ours) = (
            source.options.len(),
            source.options.iter().filter(has).count(),
        );
        let (name, url, version) = (&source.name, &source.url, &source.version);
        writeln!(
            out,
            "| [{name}]({url}) | {version} | {all} | {ours} | {} |",
            all - ours
        )
        .unwrap();
    }
    for source in sources() {
        writeln!(out, "\n### Left out of {}\n", source.name).unwrap();
        for left in &source.left_out {
            let names: Vec<_> = left
                .options
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            writeln!(out, "- {} {}", left.why, names.join(", ")).unwrap();
        }
    }
    out
}

#[test]
fn every_option_of_others_is_in_the_contract_or_left_out_for_a_reason() {
    let covered = covered();
    for source in sources() {
        let mut seen = BTreeSet::new();
        for option in &source.options {
            assert!(seen.insert(option), "{}: {option} twice", source.name);
            let ways = usize::from(covered.contains_key(option.as_str()))
                + usize::from(source.left_out.iter().any(|left| left.names(option)));
            assert!(ways > 0, "{}: {option} is in neither list", source.name);
            // A pattern may name what the contract has; a name may not.
            let plain = source.left_out.iter().any(|l| l.options.contains(option));
            assert!(
                !(plain && ways > 1),
                "{}: {option} is in both lists",
                source.name
            );
        }
        for left in &source.left_out {
            assert!(left.why.ends_with('.'), "{}", left.why);
            for pattern in &left.options {
                let one = LeftOut {
                    why: String::new(),
                    options: vec![pattern.clone()],
                };
                let named = source.options.iter().any(|option| one.names(option));
                assert!(named, "{}: {pattern} names nothing", source.name);
            }
        }
    }
}

#[test]
fn the_committed_document_is_what_the_fragments_say() {
    crate::generated::assert_committed("kernel.md", &reference());
}
