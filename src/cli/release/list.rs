//! `hullwright release list`.

use anyhow::Result;
use serde_json::json;

use super::super::{Context, human_size, output};
use super::place::PlaceArguments;
use crate::release::{Index, verify};
use crate::sign::keys;
use crate::stamp::Stamp;

/// Show what channels offer, and have offered.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright release list site\n  \
    hullwright release list https://updates.example.com/os --channel stable --key release.asc\n\n\
    Only the signature of each index is checked; see `hullwright release verify`.")]
pub struct List {
    #[command(flatten)]
    place: PlaceArguments,
}

impl List {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let source = self.place.source()?;
        let trusted = self.place.trusted()?;
        let request = self.place.request(&trusted);
        let names = verify::channel_names(source.as_ref(), request.channel)?;
        let channels = names
            .iter()
            .map(|name| verify::index(source.as_ref(), &request, name))
            .collect::<Result<Vec<_>>>()?;
        if context.json {
            output::event("result", json!({"channels": channels}));
        } else {
            show(&channels);
        }
        Ok(0)
    }
}

fn show(channels: &[Index]) {
    let mut rows =
        vec![["CHANNEL", "PRODUCT", "ARCH", "VERSION", "OF", "UPDATE", ""].map(str::to_owned)];
    for index in channels {
        for product in &index.products {
            for release in product.releases.iter().rev() {
                let note = match &release.yanked {
                    Some(reason) => format!("yanked: {reason}"),
                    None if product.current.as_ref() == Some(&release.version) => "current".into(),
                    None => String::new(),
                };
                rows.push([
                    index.channel.clone(),
                    product.id.clone(),
                    product.arch.to_string(),
                    release.version.clone(),
                    keys::date(Stamp::from_seconds(release.stamp)),
                    human_size(release.update_size()),
                    note,
                ]);
            }
        }
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..7).map(width).collect();
    for row in &rows {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        output::line_out(line.join("  ").trim_end());
    }
}
