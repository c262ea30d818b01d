//! Whole builds and rebuilds.

use std::cell::Cell;
use std::path::Path;

use anyhow::Result;

use super::measure::{Case, Row, in_turns};
use super::mkosi::Mkosi;
use super::setup::{Bench, HOME};
use super::table::{Goal, Group, Section};

const GROUP: &str = "build";
const COLD: &str = "hullwright, packages downloaded, nothing compiled";
const RELINK: &str = "hullwright, one line changed";
const RELINK_AGAIN: &str = "hullwright, one more line changed";
const UNCHANGED: &str = "hullwright, nothing changed";
const SIZE: &str = "hullwright size, of what was built";
const WHY: &str = "hullwright why FILE, of what was built";
const FULL: &str = "mkosi, packages downloaded";
const INCREMENTAL: &str = "mkosi, incremental, one line changed";

const MIB: f64 = 1_048_576.0;

/// Measures.
pub fn measure(bench: &Bench) -> Result<Section> {
    let site = bench.site()?;
    let packages = site.packages()?;
    let mkosi = Mkosi::prepare(Path::new(HOME), &packages, bench.log())?;
    mkosi.fill()?;
    let line = Cell::new(0_u32);
    let next = || {
        line.set(line.get() + 1);
        format!("line {} of {}", line.get(), std::process::id())
    };
    // In this order, because a relink needs what the cold build compiled.
    let cases = vec![
        Case::new(COLD, || {
            site.forget()?;
            site.build()
        }),
        Case::new(FULL, || mkosi.full()),
        Case::new(RELINK, || {
            site.change(&next())?;
            site.build()
        }),
        Case::new(RELINK_AGAIN, || {
            site.change(&next())?;
            site.build()
        }),
        Case::new(INCREMENTAL, || {
            mkosi.change(&next())?;
            mkosi.incremental()
        }),
        Case::new(UNCHANGED, || site.build()),
        Case::new(SIZE, || site.ask("size", &[])),
        Case::new(WHY, || site.ask("why", &["/usr/bin/ctr"])),
    ];
    let rows = in_turns("build", cases, bench.options.runs);
    let mut section = Section {
        method: vec![format!(
            "The development image for QEMU against mkosi's of the same {} packages and cloud kernel: \
             `/usr` as EROFS with verity, a signed UKI, a disk. mkosi runs in Debian 13, without \
             recommended packages and without documentation, with `Compression=zstd`. Neither uses \
             the network: indices and packages are there. The line that changes is that of a file \
             in `/usr/lib`. Sizes are what the disk image takes, a peak is that of the largest \
             process.",
            packages.len() + 1
        )],
        groups: vec![Group {
            name: GROUP.to_owned(),
            rows,
        }],
        ..Section::default()
    };
    let row = |name: &str| section.row(GROUP, name);
    let wall = |name: &str| row(name).and_then(Row::wall).map(|(_, wall, _)| wall);
    let memory = |name: &str| {
        row(name)
            .and_then(Row::memory)
            .map(|bytes| bytes as f64 / MIB)
    };
    let ratio = |a: &str, b: &str| Some(wall(a)? / wall(b)?);
    let findings = [
        ("cold build", wall(COLD), " s", Some(Goal::AtMost(8.0))),
        (
            "mkosi's time to that of the cold build",
            ratio(FULL, COLD),
            " ×",
            Some(Goal::AtLeast(15.0)),
        ),
        ("relink", wall(RELINK_AGAIN), " s", Some(Goal::AtMost(0.5))),
        (
            "relink right after mkosi",
            wall(RELINK),
            " s",
            Some(Goal::AtMost(0.5)),
        ),
        (
            "mkosi's incremental time to that of the relink",
            ratio(INCREMENTAL, RELINK),
            " ×",
            None,
        ),
        (
            "nothing changed",
            wall(UNCHANGED),
            " s",
            Some(Goal::AtMost(0.1)),
        ),
        ("size", wall(SIZE), " s", Some(Goal::AtMost(0.2))),
        ("why", wall(WHY), " s", Some(Goal::AtMost(0.2))),
        (
            "peak memory of the cold build",
            memory(COLD),
            " MiB",
            Some(Goal::AtMost(600.0)),
        ),
        (
            "peak memory of the relink",
            memory(RELINK),
            " MiB",
            Some(Goal::AtMost(150.0)),
        ),
    ];
    section.find(findings);
    Ok(section)
}
