//! `hullwright size`: where the bytes of an image go.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::look::LookArguments;
use super::{Context, output};
use crate::build;
use crate::report::size::budget::{self, decimal};
use crate::report::size::tree::{self, By};
use crate::report::size::{Lines, html, savings, text};

/// Show where the bytes of an image go, and which line of the profile led to them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright size qemu\n  \
    hullwright size qemu --by package --depth 1\n  \
    hullwright size my-host.yaml --html size.html\n  \
    hullwright size my-host.yaml --budget 90MB\n\n\
    The last build has kept the answer; without one, everything is made but nothing written.")]
pub struct Size {
    /// A built-in name or a path.
    profile: String,
    #[command(flatten)]
    look: LookArguments,
    /// Packages below what pulled them in, down from the lines of the profile, or side by side.
    #[arg(long, value_enum, default_value_t = Division::Line)]
    by: Division,
    /// How many levels of the tree are shown.
    #[arg(long, value_name = "N", default_value_t = 3)]
    depth: usize,
    /// Write a treemap of all files, one file that needs no network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Fail if usr.erofs and the UKI have more bytes together [default: the profile's].
    #[arg(long, value_name = "SIZE", value_parser = limit)]
    budget: Option<u64>,
    /// List every file with `--json`.
    #[arg(long)]
    files: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Division {
    /// By the line of the profile that led to a package.
    Line,
    /// By package.
    Package,
}

fn limit(text: &str) -> Result<u64, String> {
    crate::profile::parse_budget(text).map_err(|expected| format!("expected {expected}"))
}

impl Size {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let look = self.look.open(&self.profile, context)?;
        let sizes = build::sizes(&look.inputs()?)?;
        let profile = &look.loaded.profile;
        let lines = Lines::of(&look.loaded, &look.lock);
        let by = match self.by {
            Division::Line => By::Line,
            Division::Package => By::Package,
        };
        let rows = [
            tree::usr(&sizes, &lines, by),
            tree::uki(&sizes),
            tree::verity(&sizes),
        ];
        let limit = self.budget.or(profile.limit());
        if let Some(path) = &self.html {
            let title = format!("{} for {}", look.loaded.stem, profile.arch);
            fs::write(path, html::page(&title, &sizes, &lines)?)
                .with_context(|| format!("writing {}", path.display()))?;
        }
        if context.json {
            let forms = sizes.forms();
            let forms = forms
                .iter()
                .map(|(form, bytes)| json!({"name": form.name(), "bytes": bytes}));
            let rest = sizes.rest.iter().map(|part| json!(part));
            let mut fields = json!({
                "profile": look.loaded.stem,
                "arch": profile.arch,
                "bytes": sizes.counted(),
                "budget": limit,
                "forms": forms.chain(rest).collect::<Vec<_>>(),
                "tree": rows,
                "savings": savings::largest(&sizes, &lines, profile),
            });
            if self.files
                && let Some(fields) = fields.as_object_mut()
            {
                fields.insert("files".into(), html::files(&sizes).into());
            }
            // An image that is too large is an error in the end, and these are its reasons.
            output::event("sizes", fields.clone());
            budget::check(&look.loaded, &look.lock, &sizes, self.budget)?;
            output::event("result", fields);
        } else {
            if !context.quiet {
                output::line_out(&text::forms(&sizes));
                output::line_out(&text::rows(&rows, self.depth));
                let budget = limit.map_or_else(String::new, |limit| {
                    format!(" of the budget's {}", decimal(limit))
                });
                output::line_out(&format!(
                    "{} for {}: usr.erofs and UKI have {} bytes, {}{budget}",
                    look.loaded.stem,
                    profile.arch,
                    sizes.counted(),
                    decimal(sizes.counted()),
                ));
            }
            budget::check(&look.loaded, &look.lock, &sizes, self.budget)?;
        }
        Ok(0)
    }
}
