//! `hullwright board`: look at boards, and renew what they take by hash.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::arguments::ArchiveArguments;
use super::{Context, build, output};
use crate::archive::{self, Keyrings, Releases};
use crate::failure::{Failure, Kind};
use crate::profile::board::{Artefact, BoardFile, built_in};
use crate::report::human_size;
use crate::staging::write_file;

/// The exit status of `board update --check` where something newer is there.
const NEWER: u8 = 9;

/// Look at boards, and renew what they take by hash.
#[derive(Debug, clap::Args)]
pub struct BoardCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the built-in boards.
    List,
    /// Print what a board takes by hash, what it places where, and what it sets in a profile.
    #[command(after_help = "Examples:\n  \
        hullwright board show raspberry-pi-4\n  \
        hullwright board show boards/mine.yaml")]
    Show {
        /// A built-in name or a path.
        board: String,
    },
    Update(Update),
}

/// Renew what a board takes by hash, from the signed indices of the suites that it names.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright board update boards/mine.yaml             renew it in place\n  \
    hullwright board update boards/mine.yaml --check     only say what is newer; 9 if anything is\n  \
    hullwright board update raspberry-pi-4 --output boards/raspberry-pi-4.yaml\n\n\
    Only versions, paths, sizes, hashes and snapshots change; comments and layout stay. A built-in\n\
    board is part of the program: its renewed form goes to --output, and profiles name that file.")]
struct Update {
    /// A built-in name or a path.
    board: String,
    /// Change nothing; exit with 9 when something newer is there.
    #[arg(long, conflicts_with = "output")]
    check: bool,
    /// Write the renewed board here [default: its own file].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The keyring of an archive that is not Debian's (artefacts with a `url`).
    #[arg(long, value_name = "FILE")]
    keyring: Option<PathBuf>,
    /// Debian mirror: a URL, or two with a comma between (Debian's and the security tree).
    #[arg(long, value_name = "URL")]
    mirror: Option<String>,
    /// Accept a Release file past its Valid-Until.
    #[arg(long)]
    allow_expired: bool,
}

impl BoardCommand {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        match &self.command {
            Command::List => {
                if context.json {
                    let names: Vec<_> = built_in().collect();
                    output::event("result", json!({"boards": names}));
                } else {
                    built_in().for_each(output::line_out);
                }
                Ok(0)
            }
            Command::Show { board } => show(&BoardFile::open(board)?, context),
            Command::Update(update) => update.run(context),
        }
    }
}

fn show(file: &BoardFile, context: Context) -> Result<u8> {
    let board = &file.board;
    let settings = file.settings();
    if context.json {
        let settings: Vec<_> = settings
            .iter()
            .map(|(path, value)| json!({"path": path, "value": value}))
            .collect();
        output::event("result", json!({"board": board, "profile": settings}));
        return Ok(0);
    }
    let mut lines = vec![format!(
        "{} ({}): {}",
        board.name, board.arch, board.description
    )];
    lines.push("taken by hash:".into());
    for artefact in &board.artefacts {
        lines.push(format!(
            "  {} {}, {}",
            artefact.name,
            artefact.version,
            human_size(artefact.size)
        ));
        lines.push(format!("    {}", artefact.path));
        lines.push(format!("    SHA-256 {}", artefact.sha256));
    }
    lines.push("on the EFI system partition:".into());
    for placed in &board.esp.files {
        let from = match (&placed.from, &placed.path) {
            (Some(from), Some(path)) => format!("{from}: {path}"),
            (Some(from), None) => from.clone(),
            (None, _) => "text of the board".into(),
        };
        lines.push(format!("  {}  ({from})", placed.to));
    }
    lines.push("device trees in every UKI:".into());
    for tree in &board.devicetrees {
        lines.push(format!("  {}: {}", tree.from, tree.path));
    }
    lines.push("set in profiles:".into());
    for (path, value) in &settings {
        lines.push(format!("  {path}: {value}"));
    }
    lines.iter().for_each(|line| output::line_out(line));
    Ok(0)
}

impl Update {
    fn run(&self, context: Context) -> Result<u8> {
        let file = BoardFile::open(&self.board)?;
        let to = match (&self.output, file.path()) {
            (Some(output), _) => Some(output.as_path()),
            (None, Some(own)) => Some(own),
            (None, None) if self.check => None,
            (None, None) => return Err(built_in_stays(&self.board).into()),
        };
        let pins = self.newest(&file, context)?;
        let old = &file.board.artefacts;
        let changes: Vec<_> = old
            .iter()
            .zip(&pins)
            .filter(|(old, new)| old != new)
            .collect();
        let writes =
            to.filter(|to| !self.check && (!changes.is_empty() || Some(*to) != file.path()));
        let mut written: Vec<PathBuf> = Vec::new();
        if let Some(to) = writes {
            written.push(to.to_owned());
            let folder = to.parent().unwrap_or(Path::new(""));
            for (path, bytes) in file.built_in_files() {
                let path = folder.join(path);
                put(&path, bytes)?;
                written.push(path);
            }
            put(to, file.with_pins(&pins)?.as_bytes())?;
        }
        report(&file, &changes, &written, context);
        Ok(if self.check && !changes.is_empty() {
            NEWER
        } else {
            0
        })
    }

    fn newest(&self, file: &BoardFile, context: Context) -> Result<Vec<Artefact>> {
        let mut keyrings = Keyrings::new();
        if let Some(path) = &self.keyring {
            let bytes = std::fs::read(path).map_err(|error| {
                Failure::new(
                    Kind::Usage,
                    format!("--keyring {}: {error}", path.display()),
                )
                .hint("name a file with OpenPGP certificates")
            })?;
            keyrings.insert(archive::VENDOR.into(), bytes);
        }
        let arguments = ArchiveArguments {
            mirror: self.mirror.clone(),
            offline: false,
            from: None,
            allow_expired: self.allow_expired,
        };
        let progress = build::progress(context);
        let archive = arguments.open(self.board.clone(), &progress, &Releases::default())?;
        let _stage = progress.stage("refresh", None);
        file.board
            .artefacts
            .iter()
            .map(|artefact| archive::newest(artefact, file.board.arch, &keyrings, &archive))
            .collect()
    }
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)
            .with_context(|| format!("making the folder {}", folder.display()))?;
    }
    write_file(path, bytes)
}

fn built_in_stays(board: &str) -> Failure {
    Failure::new(
        Kind::Usage,
        format!("`{board}` is built into the program and can't be changed in place"),
    )
    .hint(format!(
        "write the renewed board to a file with --output boards/{board}.yaml, and name that in the profile: `board: ./boards/{board}.yaml`"
    ))
    .hint("--check only says whether something newer is there")
}

fn report(
    file: &BoardFile,
    changes: &[(&Artefact, &Artefact)],
    written: &[PathBuf],
    context: Context,
) {
    if context.json {
        let changes: Vec<Value> = changes
            .iter()
            .map(|(old, new)| json!({"old": old, "new": new}))
            .collect();
        let written: Vec<_> = written.iter().map(|path| path.to_string_lossy()).collect();
        output::event(
            "result",
            json!({"board": file.board.name, "changes": changes, "files": written}),
        );
        return;
    }
    if context.quiet {
        return;
    }
    if changes.is_empty() {
        output::line_out(&format!("{}: nothing newer", file.board.name));
    }
    for (old, new) in changes {
        output::line_out(&format!("{}: {} -> {}", old.name, old.version, new.version));
        output::line_out(&format!("  SHA-256 {}", new.sha256));
    }
    for path in written {
        output::line_out(&format!("{} written", path.display()));
    }
}
