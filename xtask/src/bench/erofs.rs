//! Writing EROFS images, against mkfs.erofs and mksquashfs.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::measure::{Case, Row, Sample, in_turns};
use super::setup::{Bench, program};
use super::table::{Finding, Goal, Group, Section};

/// Cases of one codec, level and cluster size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// As hullwright and mkfs.erofs call it.
    codec: &'static str,
    level: u32,
    kib: u32,
    /// mkfs.erofs as people run it, too: it searches for outputs of full clusters.
    ordinary: bool,
    /// Not measured unless it is asked for by name.
    pub on_demand: bool,
}

const fn setting(codec: &'static str, level: u32, kib: u32) -> Setting {
    Setting {
        codec,
        level,
        kib,
        ordinary: level <= 3,
        on_demand: false,
    }
}

const SETTINGS: &[Setting] = &[
    setting("zstd", 3, 64),
    setting("zstd", 3, 128),
    setting("zstd", 3, 256),
    setting("zstd", 3, 1024),
    setting("zstd", 9, 256),
    setting("zstd", 15, 256),
    setting("zstd", 19, 256),
    Setting {
        on_demand: true,
        ..setting("zstd", 19, 1024)
    },
    Setting {
        ordinary: true,
        ..setting("lz4hc", 9, 64)
    },
    Setting {
        ordinary: true,
        ..setting("lz4hc", 9, 256)
    },
];

/// The settings that are written and read by default.
pub const DEFAULT: Setting = SETTINGS[2];

/// hullwright's cases, with what the workbench is told for each.
const OURS: &[(&str, &[&str])] = &[
    ("hullwright", &["--packing", "image"]),
    ("hullwright, packing by package", BY_PACKAGE),
    ("hullwright, no packing", &["--packing", "none"]),
];

const BY_PACKAGE: &[&str] = &["--packing", "package"];

const SQUASHFS: &str = "mksquashfs";
const FIXED: &str = "mkfs.erofs, fixed input";
const ORDINARY: &str = "mkfs.erofs";
const MKOSI: &str = "mkfs.erofs -zzstd (what mkosi runs)";
const ONCE: &str = "each byte compressed once (the limit)";

/// Everything that can be measured.
pub fn groups() -> impl Iterator<Item = Setting> {
    SETTINGS.iter().copied()
}

impl Setting {
    /// As `--only` calls it.
    pub fn name(self) -> String {
        format!("{}-{}-{}K", self.codec, self.level, self.kib)
    }

    fn bytes(self) -> u32 {
        self.kib * 1024
    }

    /// The workbench, writing `image` from `tree`.
    pub fn ours(self, bench: &Bench, more: &[&str], image: &Path, tree: &Path) -> Result<Command> {
        let mut command = bench.workbench();
        command
            .arg("erofs")
            .args(["--codec", self.codec])
            .args(["--level", &self.level.to_string()])
            .args(["--chunk", &self.bytes().to_string()])
            .args(more);
        if more == BY_PACKAGE
            && let Some(origins) = bench.origins()?
        {
            command.arg("--origins").arg(origins);
        }
        command.arg(tree).arg(image);
        Ok(command)
    }

    /// mkfs.erofs in its fixed-input mode: every extent is `-C` bytes of input.
    pub fn fixed(self, more: &[&str], image: &Path, tree: &Path) -> Command {
        let input = format!("--max-extent-bytes={}", self.bytes());
        let more: Vec<&str> = [input.as_str()].iter().chain(more).copied().collect();
        self.mkfs(&more, image, tree)
    }

    /// mkfs.erofs with clusters of this size.
    fn mkfs(self, more: &[&str], image: &Path, tree: &Path) -> Command {
        let mut command = mkfs();
        command
            .arg(format!("-z{},{}", self.codec, self.level))
            .arg(format!("-C{}", self.bytes()))
            .args(more)
            .args([image, tree]);
        command
    }

    /// mksquashfs with blocks of this size.
    pub fn squashfs(self, image: &Path, tree: &Path) -> Command {
        let mut command = program("mksquashfs");
        command
            .args([tree, image])
            .args(["-noappend", "-no-progress", "-quiet"])
            .args(["-b", &self.bytes().to_string()]);
        match self.codec {
            "zstd" => command.args(["-comp", "zstd", "-Xcompression-level"]),
            _ => command.args(["-comp", "lz4", "-Xhc"]),
        };
        if self.codec == "zstd" {
            command.arg(self.level.to_string());
        }
        command
    }

    fn cases<'a>(self, bench: &'a Bench, tree: &'a Path) -> Result<Vec<Case<'a>>> {
        let image = bench.scratch("image");
        let case = |name: &str, command: Command| -> Case<'a> {
            let image = image.clone();
            let mut command = command;
            Case::new(name, move || -> Result<Sample> {
                Ok(bench.run_making(&mut command, &image)?.sample)
            })
        };
        let mut cases = Vec::new();
        for (name, more) in OURS {
            cases.push(case(name, self.ours(bench, more, &image, tree)?));
        }
        cases.push(case(FIXED, self.fixed(&[], &image, tree)));
        let mut modes = vec!["-Efragments", "-Efragments,ztailpacking"];
        if self.level <= 3 {
            modes.insert(0, "-Eztailpacking");
        }
        for mode in modes {
            let name = format!("{FIXED}, {mode}");
            cases.push(case(&name, self.fixed(&[mode], &image, tree)));
        }
        if self.ordinary {
            cases.push(case(ORDINARY, self.mkfs(&[], &image, tree)));
        }
        if self == DEFAULT {
            let mut command = mkfs();
            command.arg("-zzstd").args([image.as_path(), tree]);
            cases.push(case(MKOSI, command));
        }
        cases.push(case(SQUASHFS, self.squashfs(&image, tree)));
        let mut once = bench.workbench();
        once.arg("compress")
            .args(["--codec", self.codec])
            .args(["--level", &self.level.to_string()])
            .args(["--chunk", &self.bytes().to_string()])
            .arg(tree);
        cases.push(Case::new(ONCE, move || Ok(bench.run(&mut once)?.sample)));
        Ok(cases)
    }

    fn findings(self, rows: &[Row]) -> Vec<Finding> {
        let name = self.name();
        let row = |wanted: &str| rows.iter().find(|row| row.name == wanted);
        let rivals = || {
            rows.iter()
                .filter(|row| row.name.starts_with(FIXED) || row.name == SQUASHFS)
        };
        let wall = |row: &Row| row.wall().map(|(_, wall, _)| wall);
        let least = |figure: &dyn Fn(&Row) -> Option<f64>| {
            rivals().filter_map(figure).min_by(f64::total_cmp)
        };
        let at_default = |goal: Goal| (self == DEFAULT).then_some(goal);
        let mut out = Vec::new();
        let mut add = |what: String, value: Option<f64>, goal: Option<Goal>| {
            if let Some(value) = value.filter(|value| value.is_finite()) {
                let unit = " ×";
                out.push(Finding {
                    what,
                    value,
                    unit,
                    goal,
                });
            }
        };
        let ratio = |a: Option<f64>, b: Option<f64>| Some(a? / b?);
        for (at, (ours, _)) in OURS.iter().enumerate() {
            let Some(ours) = row(ours) else { continue };
            // The first is the one with the best size; what the others cost is told against it.
            let first = at == 0;
            add(
                format!("{name}: wall time of {} to the fastest rival's", ours.name),
                ratio(wall(ours), least(&wall)),
                at_default(Goal::AtMost(1.0)).filter(|_| first),
            );
            add(
                format!("{name}: size of {} to the smallest rival's", ours.name),
                ratio(ours.size(), least(&Row::size)),
                Some(Goal::AtMost(1.01)).filter(|_| {
                    first && self.codec == "zstd" && (self == DEFAULT || self.level > 3)
                }),
            );
            if !first {
                add(
                    format!("{name}: size of {} to that of {}", ours.name, OURS[0].0),
                    ratio(ours.size(), row(OURS[0].0).and_then(Row::size)),
                    at_default(Goal::AtMost(1.02)).filter(|_| ours.name == OURS[1].0),
                );
            }
            if first && self.codec == "zstd" && self.level > 3 {
                let cpu = |row: &Row| row.cpu().map(|(_, cpu, _)| cpu);
                add(
                    format!(
                        "{name}: CPU time of {} to one compression of each byte",
                        ours.name
                    ),
                    ratio(cpu(ours), row(ONCE).and_then(cpu)),
                    Some(Goal::AtMost(1.10)),
                );
            }
            // mkfs.erofs without fixed input, at this cluster size and at the one that mkosi takes.
            let usual = [ORDINARY, MKOSI].into_iter();
            for rival in usual.filter(|_| first && self.codec == "zstd") {
                add(
                    format!("{name}: wall time of {rival} to that of {}", ours.name),
                    ratio(row(rival).and_then(wall), wall(ours)),
                    at_default(Goal::AtLeast(8.0)),
                );
                add(
                    format!("{name}: size of {rival} to that of {}", ours.name),
                    ratio(row(rival).and_then(Row::size), ours.size()),
                    at_default(Goal::AtLeast(1.0)),
                );
            }
        }
        let (mkosi, once) = (row(MKOSI).and_then(wall), row(ONCE).and_then(wall));
        add(
            format!("{name}: wall time of {MKOSI} to that of {ONCE}"),
            ratio(mkosi, once),
            None,
        );
        out
    }
}

/// mkfs.erofs with what makes images equal: times, UUID, one message less.
fn mkfs() -> Command {
    let mut command = program("mkfs.erofs");
    command.args([
        "--quiet",
        "-T1700000000",
        "-U52ff4eda-0d33-44cd-8b5d-88543bcdad8e",
    ]);
    command
}

/// Measures all groups that are wanted.
pub fn measure(bench: &Bench) -> Result<Section> {
    let tree = bench.tree()?;
    let mut warm = bench.workbench();
    warm.args(["read", "--sequential"]).arg(tree);
    let run = bench.run(&mut warm)?;
    let mut section = Section {
        method: vec![format!(
            "One tree ({:.0} MB in {:.0} files, in the page cache) written as an image by each. Groups \
             are codec, level and cluster size. *Fixed input*: `-C` with `--max-extent-bytes` of the \
             same size, which spares mkfs.erofs the search for outputs that fill a cluster. *Each byte \
             compressed once* reads the tree and throws away what it compresses. A peak is that of \
             the largest process.",
            run.figure("bytes")? / 1e6,
            run.figure("files")?
        )],
        ..Section::default()
    };
    for setting in groups() {
        let name = setting.name();
        let asked = bench.options.only.contains(&format!("erofs/{name}"));
        if !asked && (setting.on_demand || !bench.options.wants_group("erofs", &name)) {
            continue;
        }
        let rows = in_turns(&name, setting.cases(bench, tree)?, bench.options.runs);
        section.findings.extend(setting.findings(&rows));
        section.groups.push(Group { name, rows });
    }
    Ok(section)
}
