//! What `cargo xtask bench` is asked for.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// The sections, in order, with what each measures.
pub const SECTIONS: &[(&str, &str)] = &[
    ("erofs", "writing EROFS, against mkfs.erofs and mksquashfs"),
    (
        "read",
        "reading mounted images, against mkfs.erofs's and mksquashfs's",
    ),
    ("verity", "hash trees, against veritysetup"),
    ("build", "whole builds and rebuilds, against mkosi"),
    (
        "stages",
        "the stages of a build, against what this machine can do",
    ),
];

/// Everything that can be said.
pub const HELP: &str = "\
cargo xtask bench [OPTIONS]
    Measures hullwright side by side with the tools that people use today, and prints a table. Wants
    root on Debian, an idle machine and, the first time, the network: the other tools are installed
    into a tree of Debian 13 below /var/cache/hullwright-bench, and stay there.

    --only NAME      only this section, or this group of one: erofs, erofs/zstd-3-256K, read, verity,
                     build, stages. May be repeated. `--list` names them all.
    --list           prints the names for --only
    --runs N         runs of each case, in turns with its rivals [default: 5]. What takes longer than
                     30 s is run three times at most.
    --tree DIR       writes images of this tree instead of the /usr of the image that is built
    --output FILE    where the Markdown goes, beside stdout [default: target/bench/bench.md]
    --json           prints JSON instead of Markdown
    --write-docs     puts the tables into docs/benchmarks.md, each section between its markers
    --dev            takes the development profile of cargo: quick to try, no figures for anybody

Examples:
    cargo xtask bench
    cargo xtask bench --only build --runs 3
    cargo xtask bench --only erofs/zstd-3-256K --only verity --json
    cargo xtask bench --only erofs --tree xtask --runs 1 --dev      does everything work?
    cargo xtask bench --write-docs

The full run takes about two hours on two cores, `--only build` twenty minutes. The first run also
compiles and installs: half an hour more.
";

/// The options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Sections or groups (`SECTION/GROUP`); empty: all.
    pub only: Vec<String>,
    /// Runs of each case.
    pub runs: usize,
    /// The tree that images are made of.
    pub tree: Option<PathBuf>,
    /// Where the table goes.
    pub output: PathBuf,
    /// JSON on stdout.
    pub json: bool,
    /// Fill in docs/benchmarks.md.
    pub write_docs: bool,
    /// The development profile.
    pub dev: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Print the help.
    Help,
    /// Print names for `--only`.
    List,
    /// Measure.
    Measure(Options),
}

impl Options {
    /// Whether anything of `section` is wanted.
    pub fn wants(&self, section: &str) -> bool {
        self.only.is_empty()
            || self
                .only
                .iter()
                .any(|only| only.split('/').next() == Some(section))
    }

    /// Whether the group `group` of `section` is wanted.
    pub fn wants_group(&self, section: &str, group: &str) -> bool {
        self.only.is_empty()
            || self.only.iter().any(|only| match only.split_once('/') {
                None => only == section,
                Some((of, name)) => of == section && name == group,
            })
    }
}

/// Reads the words after `bench`. `groups` are the groups that can be chosen, as `SECTION/GROUP`.
pub fn parse(words: &[&str], groups: &[String]) -> Result<Request> {
    let mut options = Options {
        only: Vec::new(),
        runs: 5,
        tree: None,
        output: PathBuf::from("target/bench/bench.md"),
        json: false,
        write_docs: false,
        dev: false,
    };
    let mut words = words.iter();
    while let Some(&word) = words.next() {
        let mut value = || {
            words
                .next()
                .copied()
                .with_context(|| format!("`{word}` wants a value; see `cargo xtask bench --help`"))
        };
        match word {
            "--help" | "-h" => return Ok(Request::Help),
            "--list" => return Ok(Request::List),
            "--only" => {
                let name = value()?;
                let known = SECTIONS.iter().any(|(section, _)| *section == name)
                    || groups.iter().any(|group| group == name);
                if !known {
                    bail!(
                        "there is nothing called `{name}` to measure; `cargo xtask bench --list` names what there is"
                    );
                }
                options.only.push(name.to_owned());
            }
            "--runs" => {
                let number = value()?;
                options.runs = number
                    .parse()
                    .ok()
                    .filter(|runs| (1..=1000).contains(runs))
                    .with_context(|| {
                        format!("--runs is a number from 1 to 1000, not `{number}`")
                    })?;
            }
            "--tree" => {
                let dir = value()?;
                options.tree = Some(
                    std::fs::canonicalize(dir).with_context(|| format!("finding --tree {dir}"))?,
                );
            }
            "--output" => options.output = value()?.into(),
            "--json" => options.json = true,
            "--write-docs" => options.write_docs = true,
            "--dev" => options.dev = true,
            _ => bail!("`{word}` is no option of bench; see `cargo xtask bench --help`"),
        }
    }
    if options.write_docs && (options.dev || options.tree.is_some()) {
        bail!("--write-docs is for figures of the real thing: leave --dev and --tree out");
    }
    Ok(Request::Measure(options))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(words: &[&str]) -> String {
        parse(words, &[])
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn groups_choose_their_section() {
        let groups = ["erofs/zstd-3-256K".to_owned()];
        let words = [
            "--only",
            "erofs/zstd-3-256K",
            "--only",
            "verity",
            "--runs",
            "2",
        ];
        let Ok(Request::Measure(options)) = parse(&words, &groups) else {
            panic!("these are options");
        };
        assert_eq!(options.runs, 2);
        assert!(options.wants("erofs") && options.wants("verity") && !options.wants("build"));
        assert!(options.wants_group("erofs", "zstd-3-256K"));
        assert!(!options.wants_group("erofs", "zstd-9-256K"));
        assert!(options.wants_group("verity", "anything"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(error(&["--only", "erosf"]).contains("nothing called `erosf`"));
        assert!(error(&["--runs"]).contains("wants a value"));
        assert!(error(&["--runs", "0"]).contains("not `0`"));
        assert!(error(&["--fast"]).contains("no option"));
        assert!(error(&["--write-docs", "--dev"]).contains("real thing"));
        assert_eq!(parse(&["-h"], &[]).ok(), Some(Request::Help));
    }
}
