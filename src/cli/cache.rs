//! `hullwright cache`: look after downloads and compiled packages.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Context, arguments, environment, human_size, output};
use crate::failure::Kind;
use crate::store::{Amount, Store};

/// Look after the cache of downloads and compiled packages.
#[derive(Debug, clap::Args)]
#[command(name = "cache")]
pub struct CacheCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Tell where the cache is, what it holds and how much it may.
    #[command(after_help = "Examples:\n  \
        hullwright cache info\n  \
        hullwright cache info --json | jq .bytes")]
    Info,
    /// Remove what was not used for longest, until the cache is below its limit.
    #[command(after_help = "Examples:\n  \
        hullwright cache gc                    down to the limit, as builds do by themselves\n  \
        hullwright cache gc --limit '2 GiB'    down to that\n  \
        hullwright cache gc --limit 0          everything\n\n\
        It can run while others build: what they miss they make or fetch again.")]
    Gc {
        /// Most that may be left, such as `2 GiB` [default: HULLWRIGHT_CACHE_LIMIT, else 10 GiB].
        #[arg(long, value_name = "SIZE", value_parser = arguments::size)]
        limit: Option<u64>,
    },
    /// Read everything again, and remove what is damaged.
    #[command(after_help = "Examples:\n  \
        hullwright cache verify\n\n\
        Exit status: 0 if everything is whole, 4 if something was damaged. Builds check what they use\n\
        by themselves, and make it again.")]
    Verify,
    /// Print the folder of the cache.
    #[command(after_help = "Examples:\n  \
        hullwright cache path\n  \
        HULLWRIGHT_CACHE=/srv/cache hullwright cache path")]
    Path,
    /// Write the cache to one file, for machines that begin with none.
    #[command(after_help = "Examples:\n  \
        hullwright cache export cache.tar.zst\n  \
        hullwright cache export cache.tar.zst --packages\n\n\
        Packages are left out, as builds from compiled ones do not need them.")]
    Export {
        /// The file.
        file: PathBuf,
        /// Downloaded packages, too.
        #[arg(long)]
        packages: bool,
    },
    /// Take what a file of `cache export` holds.
    #[command(after_help = "Examples:\n  \
        hullwright cache import cache.tar.zst\n\n\
        Import what you or your CI made: that a file is whole is checked, but not that a package\n\
        compiles to what it says.")]
    Import {
        /// The file.
        file: PathBuf,
    },
}

fn amount(amount: Amount) -> Value {
    json!({"files": amount.files, "bytes": amount.bytes})
}

fn line(name: &str, amount: Amount) -> String {
    let size = human_size(amount.bytes);
    format!("{name:<12}{:>7} files {size:>10}", amount.files)
}

impl CacheCommand {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let dir = environment::cache_dir()?;
        if let Command::Path = self.command {
            let path = dir.to_string_lossy();
            tell(context, json!({"path": path}), || path.to_string());
            return Ok(0);
        }
        let store = Store::open(&dir)?;
        let limit = environment::cache_limit()?;
        match &self.command {
            Command::Path => {}
            Command::Info => info(&store, limit, context)?,
            Command::Gc { limit: other } => {
                let evicted = store.make_room(other.unwrap_or(limit))?;
                let (removed, left) = (evicted.removed, evicted.left);
                let fields = json!({"removed": amount(removed), "left": amount(left)});
                tell(context, fields, || {
                    format!(
                        "removed {} files, {}; {} are left",
                        removed.files,
                        human_size(removed.bytes),
                        human_size(left.bytes)
                    )
                });
            }
            Command::Verify => return verify(&store, context),
            Command::Export { file, packages } => {
                let exported = store.export(file, *packages)?;
                let mut fields = amount(exported);
                fields["file"] = file.to_string_lossy().into();
                tell(context, fields, || {
                    let size = human_size(exported.bytes);
                    format!("{}: {} files, {size}", file.display(), exported.files)
                });
            }
            Command::Import { file } => {
                let imported = store.import(file)?;
                store.set_limit(limit);
                store.tidy();
                let mut fields = amount(imported.new);
                fields["known"] = imported.known.into();
                tell(context, fields, || {
                    format!(
                        "{} files, {}; {} were here already",
                        imported.new.files,
                        human_size(imported.new.bytes),
                        imported.known
                    )
                });
            }
        }
        Ok(0)
    }
}

fn tell(context: Context, fields: Value, words: impl FnOnce() -> String) {
    if context.json {
        output::event("result", fields);
    } else if !context.quiet {
        output::line_out(&words());
    }
}

fn info(store: &Store, limit: u64, context: Context) -> Result<()> {
    let usage = store.usage()?;
    let path = store.root().to_string_lossy();
    let list = |name: &str, amounts: &mut dyn Iterator<Item = (&str, Amount)>| -> Value {
        amounts
            .map(|(of, held)| {
                let mut fields = amount(held);
                fields[name] = of.into();
                fields
            })
            .collect()
    };
    let folders = || usage.folders.iter().map(|(name, held)| (*name, *held));
    let derived = || usage.derived.iter().map(|(kind, held)| (&**kind, *held));
    let fields = json!({
        "path": path,
        "limit": limit,
        "files": usage.total.files,
        "bytes": usage.total.bytes,
        "folders": list("folder", &mut folders()),
        "derived": list("kind", &mut derived()),
    });
    tell(context, fields, || {
        let mut lines = vec![path.to_string()];
        for (name, held) in folders().filter(|(_, held)| held.files > 0) {
            lines.push(line(name, held));
            if name == "derived" {
                lines.extend(derived().map(|(kind, held)| line(&format!("  {kind}"), held)));
            }
        }
        lines.push(format!(
            "{} of {}",
            line("together", usage.total),
            human_size(limit)
        ));
        lines.join("\n")
    });
    Ok(())
}

fn verify(store: &Store, context: Context) -> Result<u8> {
    let verified = store.verify_all()?;
    let damaged: Vec<_> = verified
        .damaged
        .iter()
        .map(|(path, problem)| json!({"path": path.to_string_lossy(), "problem": problem}))
        .collect();
    let fields = json!({"files": verified.files, "damaged": damaged});
    tell(context, fields, || {
        let mut lines: Vec<String> = verified
            .damaged
            .iter()
            .map(|(path, problem)| {
                format!("{} was damaged, and is removed: {problem}", path.display())
            })
            .collect();
        lines.push(match verified.damaged.len() {
            0 => format!("{} files are whole", verified.files),
            n => format!("{n} of {} files were damaged", verified.files),
        });
        lines.join("\n")
    });
    Ok(match verified.damaged.is_empty() {
        true => 0,
        false => Kind::Archive.exit_code(),
    })
}
