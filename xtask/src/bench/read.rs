//! Reading mounted images.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::erofs::DEFAULT;
use super::measure::{Case, Sample, in_turns};
use super::setup::{Bench, make_dir};
use super::table::{Finding, Goal, Group, Section};
use crate::steps::call;

/// Random reads of 4 KiB in one run.
const READS: &str = "5000";

const OURS: &str = "hullwright";
const MKFS: &str = "mkfs.erofs, fixed input";
const FRAGMENTS: &str = "mkfs.erofs, fixed input, -Efragments";
const SQUASHFS: &str = "mksquashfs";

/// A mounted image, unmounted when it is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(image: &Path, system: &str, at: &'a Path) -> Result<Self> {
        call(
            Command::new("mount")
                .args(["-t", system, "-o", "ro,loop"])
                .args([image, at]),
        )
        .context("mounting an image")?;
        Ok(Self(at))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Err(error) = call(Command::new("umount").arg(self.0)) {
            eprintln!("unmounting {}: {error:#}", self.0.display());
        }
    }
}

/// Measures both ways of reading.
pub fn measure(bench: &Bench) -> Result<Section> {
    let tree = bench.tree()?;
    let at = bench.scratch("mounted");
    make_dir(&at)?;
    let image = |name: &str| bench.scratch(&format!("read-{name}"));
    let images: Vec<(&str, PathBuf, &str)> = vec![
        (OURS, image("ours"), "erofs"),
        (MKFS, image("mkfs"), "erofs"),
        (FRAGMENTS, image("fragments"), "erofs"),
        (SQUASHFS, image("squashfs"), "squashfs"),
    ];
    for (name, path, _) in &images {
        let mut command = match *name {
            OURS => DEFAULT.ours(bench, &[], path, tree)?,
            MKFS => DEFAULT.fixed(&[], path, tree),
            FRAGMENTS => DEFAULT.fixed(&["-Efragments"], path, tree),
            _ => DEFAULT.squashfs(path, tree),
        };
        bench.run_making(&mut command, path)?;
    }
    let mut section = Section {
        method: vec![format!(
            "Images of {} mounted anew for every run, the image file itself in the page cache: what is \
             measured is finding and decompressing. *Sequential*: every file from its beginning, in \
             the order of names. *Random*: {READS} reads of 4 KiB at places that are the same in every \
             run, files chosen by their size.",
            DEFAULT.name()
        )],
        ..Section::default()
    };
    for (group, words) in [
        ("sequential", vec!["--sequential"]),
        ("random", vec!["--random", READS]),
    ] {
        let read = |path: &Path, system: &str| {
            let mounted = Mounted::new(path, system, &at)?;
            let mut command = bench.workbench();
            command.arg("read").args(&words).arg(mounted.0);
            bench.run(&mut command)
        };
        // The kernel sets up its decompressors when they are first needed.
        for (_, path, system) in &images {
            read(path, system)?;
        }
        let cases = images
            .iter()
            .map(|(name, path, system)| {
                let read = &read;
                Case::new(*name, move || {
                    let run = read(path, system)?;
                    // Much of the work is done by threads of the kernel, on no process's account.
                    Ok(Sample {
                        wall: run.figure("seconds")?,
                        size: Some(path.metadata().map_or(0, |metadata| metadata.len())),
                        ..Sample::default()
                    })
                })
            })
            .collect();
        let rows = in_turns(group, cases, bench.options.runs);
        section.groups.push(Group {
            name: group.to_owned(),
            rows,
        });
        let wall = |name: &str| {
            let (_, wall, _) = section.row(group, name)?.wall()?;
            Some(wall)
        };
        let rivals = [wall(MKFS), wall(FRAGMENTS)];
        let fastest = rivals.into_iter().flatten().min_by(f64::total_cmp);
        if let (Some(ours), Some(fastest)) = (wall(OURS), fastest) {
            section.findings.push(Finding {
                what: format!("{group}: time to that of the faster image of mkfs.erofs"),
                value: ours / fastest,
                unit: " ×",
                goal: Some(Goal::AtMost(1.0)),
            });
        }
    }
    Ok(section)
}
