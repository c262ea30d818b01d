//! Hash trees of dm-verity.

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::erofs::DEFAULT;
use super::measure::{Case, Sample, in_turns};
use super::setup::{Bench, program};
use super::table::{Goal, Group, Section};

const SALT: &str = "abababababababababababababababababababababababababababababababab";
const UUID: &str = "52ff4eda-0d33-44cd-8b5d-88543bcdad8e";

const GROUP: &str = "hash tree";
const OURS: &str = "hullwright, nothing known";
const UPPER: &str = "hullwright, leaf hashes known";
const MEMORY: &str = "hullwright's hashing of an image in memory";
const LIMIT: &str = "SHA-256 of the same blocks on all cores (the limit)";
const THEIRS: &str = "veritysetup format";

/// Measures.
pub fn measure(bench: &Bench) -> Result<Section> {
    let image = if bench.options.tree.is_some() {
        let image = bench.scratch("verity-image");
        let mut command = DEFAULT.ours(bench, &[], &image, bench.tree()?)?;
        bench.run_making(&mut command, &image)?;
        image
    } else {
        bench.site()?.image()
    };
    let hashes = bench.scratch("hashes");
    let ours = || {
        let mut command = bench.workbench();
        command
            .args(["verity", "--salt", SALT, "--uuid", UUID])
            .args([&image, &hashes]);
        bench.run_making(&mut command, &hashes)
    };
    let theirs = || {
        let mut command = program("veritysetup");
        command
            .arg("format")
            .args([format!("--salt={SALT}"), format!("--uuid={UUID}")])
            .args([&image, &hashes]);
        bench.run_making(&mut command, &hashes)
    };
    let output: Value =
        serde_json::from_str(&ours()?.output).context("reading the workbench's output")?;
    let root = output["root_hash"].as_str().unwrap_or("nothing");
    if !theirs()?.output.contains(root) {
        bail!("veritysetup does not come to hullwright's root hash {root}");
    }
    let inside = |what: &str| -> Result<Sample> {
        let mut command = bench.workbench();
        command.args(["sha256", "--salt", SALT]).arg(&image);
        Ok(Sample {
            wall: bench.run(&mut command)?.figure(what)?,
            ..Sample::default()
        })
    };
    let upper = || -> Result<Sample> {
        Ok(Sample {
            wall: ours()?.figure("upper")?,
            ..Sample::default()
        })
    };
    let cases = vec![
        Case::new(OURS, || Ok(ours()?.sample)),
        Case::new(THEIRS, || Ok(theirs()?.sample)),
        Case::new(UPPER, upper),
        Case::new(MEMORY, || inside("hashing")),
        Case::new(LIMIT, || inside("limit")),
    ];
    let rows = in_turns("verity", cases, bench.options.runs);
    let size = image.metadata().map_or(0, |metadata| metadata.len());
    let mut section = Section {
        method: vec![format!(
            "The hash tree of an image of {:.1} MB that is in the page cache. Both come to the same \
             root hash. *Leaf hashes known* is what a link does when packages bring them: the upper \
             levels only. Rows without CPU time are parts of a program, timed inside.",
            size as f64 / 1e6
        )],
        groups: vec![Group {
            name: GROUP.to_owned(),
            rows,
        }],
        ..Section::default()
    };
    let wall = |name: &str| {
        let (_, wall, _) = section.row(GROUP, name)?.wall()?;
        Some(wall)
    };
    let ratio = |a: &str, b: &str| Some(wall(a)? / wall(b)?);
    let findings = [
        (
            "time of the upper levels",
            wall(UPPER),
            " s",
            Some(Goal::AtMost(0.05)),
        ),
        (
            "speed of hashing to the limit",
            ratio(LIMIT, MEMORY),
            " ×",
            Some(Goal::AtLeast(0.9)),
        ),
        (
            "time of veritysetup to hullwright's, nothing known",
            ratio(THEIRS, OURS),
            " ×",
            None,
        ),
    ];
    section.find(findings);
    Ok(section)
}
