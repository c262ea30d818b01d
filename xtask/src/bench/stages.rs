//! The stages of a build, and what this machine could do at most.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::measure::{Case, Row, Sample, in_turns};
use super::setup::{Bench, make_dir, program};
use super::site::Site;
use super::table::{Group, Section};

/// Measures.
pub fn measure(bench: &Bench) -> Result<Section> {
    let site = bench.site()?;
    let debs = site.debs()?;
    let mut section = Section {
        method: vec![format!(
            "What a build does ({} packages downloaded), against the same done by the plainest \
             program. Bytes of a row are what comes out of it. Times and bytes of stages are those \
             that a build reports; stages run side by side, so that they do not add up.",
            debs.len()
        )],
        ..Section::default()
    };
    section.groups.push(Group {
        name: "limit".into(),
        rows: in_turns("limits", limits(bench, site, &debs)?, bench.options.runs),
    });
    for (name, cold) in [
        ("stage of a cold build", true),
        ("stage of a relink", false),
    ] {
        let mut rows: Vec<Row> = Vec::new();
        for run in 0..bench.options.runs {
            if cold {
                site.forget()?;
            } else {
                site.change(&format!("run {run} of {}", std::process::id()))?;
            }
            let built = site.build()?;
            add(&mut rows, "the whole build", built);
            for stage in site.report()?["stages"].as_array().into_iter().flatten() {
                let sample = Sample {
                    wall: stage["wall"].as_f64().unwrap_or(0.0),
                    cpu: stage["cpu"].as_f64(),
                    memory: None,
                    size: stage["bytes"].as_u64(),
                };
                add(&mut rows, stage["stage"].as_str().unwrap_or("?"), sample);
            }
        }
        section.groups.push(Group {
            name: name.into(),
            rows,
        });
    }
    Ok(section)
}

fn add(rows: &mut Vec<Row>, name: &str, sample: Sample) {
    match rows.iter_mut().find(|row| row.name == name) {
        Some(row) => row.samples.push(sample),
        None => rows.push(Row {
            name: name.to_owned(),
            samples: vec![sample],
            failure: None,
        }),
    }
}

fn limits<'a>(bench: &'a Bench, site: &'a Site, debs: &'a [PathBuf]) -> Result<Vec<Case<'a>>> {
    let members = bench.scratch("members");
    make_dir(&members)?;
    let mut command = bench.workbench();
    command.arg("members").arg("--to").arg(&members).args(debs);
    let unpacked = bench.run(&mut command)?.figure("bytes")? as u64;
    let xz = listed(&members)?
        .into_iter()
        .filter(|path| path.extension().is_some_and(|end| end == "xz"))
        .collect::<Vec<_>>();
    let image = site.image();
    let tree = bench.tree()?;
    let mut tests = program("xz");
    tests.args(["--test", "--threads=1"]).args(xz);
    let mut unpack = bench.workbench();
    unpack.arg("unpack").args(debs);
    let mut compress = bench.workbench();
    compress
        .args(["compress", "--codec", "zstd", "--level", "3"])
        .args(["--chunk", "262144"])
        .arg(tree);
    let mut hash = bench.workbench();
    hash.args(["sha256", "--salt", &"ab".repeat(32)])
        .arg(&image);
    let mut cases = vec![
        Case::new("xz --test of every data.tar.xz, one thread", move || {
            let mut sample = bench.run(&mut tests)?.sample;
            sample.size = Some(unpacked);
            Ok(sample)
        }),
        Case::new(
            "hullwright's reading of every data.tar, all cores",
            move || {
                let run = bench.run(&mut unpack)?;
                let size = Some(run.figure("bytes")? as u64);
                Ok(Sample { size, ..run.sample })
            },
        ),
        Case::new("zstd -3 of every 256 KiB of /usr, all cores", move || {
            let run = bench.run(&mut compress)?;
            let size = Some(run.figure("compressed")? as u64);
            Ok(Sample { size, ..run.sample })
        }),
        Case::new("SHA-256 of every block of usr.erofs, all cores", {
            let image = image.clone();
            move || {
                Ok(Sample {
                    wall: bench.run(&mut hash)?.figure("limit")?,
                    size: Some(length(&image)?),
                    ..Sample::default()
                })
            }
        }),
    ];
    let copy = bench.scratch("copy");
    let (from, to) = (image, copy.clone());
    cases.push(Case::new("cp of usr.erofs", move || {
        let mut command = Command::new("cp");
        command
            .args(["--reflink=never", "--sparse=never"])
            .args([&from, &to]);
        Ok(bench.run_making(&mut command, &to)?.sample)
    }));
    let to = bench.scratch("copies");
    cases.push(Case::new("cp of the whole output folder", move || {
        if to.exists() {
            fs::remove_dir_all(&to).with_context(|| format!("removing {}", to.display()))?;
        }
        let mut command = Command::new("cp");
        command
            .args(["--recursive", "--reflink=never", "--sparse=auto"])
            .args([&site.output(), &to]);
        Ok(bench.run(&mut command)?.sample)
    }));
    Ok(cases)
}

fn length(path: &Path) -> Result<u64> {
    let metadata = fs::metadata(path).with_context(|| format!("looking at {}", path.display()))?;
    Ok(metadata.len())
}

fn listed(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir).with_context(|| format!("listing {}", dir.display()))?;
    let mut paths = Vec::new();
    for entry in entries {
        paths.push(entry.context("listing members")?.path());
    }
    paths.sort();
    Ok(paths)
}
