//! `hullwright keys show` and `hullwright keys check`.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::{Value, json};

use crate::cli::{Context, output};
use crate::failure::{Failure, Kind};
use crate::sign::keys::{self, Finding, Key, Private, Severity, Shown, date};
use crate::stamp::Stamp;

/// Print what is in a set: certificates, fingerprints, how long they are good.
#[derive(Debug, clap::Args)]
pub struct Show {
    /// The folder of the set.
    dir: PathBuf,
    /// Where PK and KEK are, if not in DIR/owner.
    #[arg(long, value_name = "DIR")]
    owner: Option<PathBuf>,
}

impl Show {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        let overview = keys::show(&self.dir, self.owner.as_deref())?;
        let set = overview.set.as_ref();
        let db = overview.keys.iter().find(|shown| shown.key == Key::Db);
        if context.json {
            let keys: Vec<Value> = overview.keys.iter().map(json_of).collect();
            let others: Vec<Value> = overview
                .others_in_db
                .iter()
                .map(|(subject, print)| json!({"subject": subject, "fingerprint": print}))
                .collect();
            output::event(
                "result",
                json!({
                    "dir": self.dir.to_string_lossy(),
                    "fingerprint": db.map(|shown| &shown.fingerprint),
                    "profile": set.map(|set| set.profile),
                    "name": set.map(|set| &set.name),
                    "owner": set.map(|set| set.owner),
                    "keys": keys,
                    "others_in_db": others,
                    "revoked": overview.revoked,
                }),
            );
            return Ok(0);
        }
        if let Some(db) = db {
            output::line_out(&format!("{}  {}", db.fingerprint, self.dir.display()));
        }
        if let Some(set) = set {
            let profile = serde_json::to_value(set.profile)?;
            output::line_out(&format!(
                "{} set of {}, owner {}",
                profile.as_str().unwrap_or_default(),
                set.name,
                set.owner
            ));
        }
        for shown in &overview.keys {
            for line in lines_of(shown) {
                output::line_out(&line);
            }
        }
        for (subject, print) in &overview.others_in_db {
            output::line_out(&format!("in db    {subject}"));
            output::line_out(&format!("         {print}"));
        }
        if overview.revoked > 0 {
            output::line_out(&format!("in dbx   {} entries", overview.revoked));
        }
        Ok(0)
    }
}

fn json_of(shown: &Shown) -> Value {
    json!({
        "key": shown.key.name(),
        "subject": shown.subject,
        "fingerprint": shown.fingerprint,
        "from": shown.from,
        "until": shown.until,
        "private": shown.private,
    })
}

fn lines_of(shown: &Shown) -> [String; 3] {
    let until = shown.until.map_or("no end".into(), date);
    let private = match shown.private {
        Private::Absent => "private key elsewhere",
        Private::Encrypted => "private key encrypted",
        Private::Plain => "private key not encrypted",
    };
    [
        format!("{:<8} {}", shown.key.name(), shown.subject),
        format!("         {}", shown.fingerprint),
        format!("         {} to {until}, {private}", date(shown.from)),
    ]
}

/// Check a set: validity, permissions, that keys, certificates and signed variables fit.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "It warns 90 days before a certificate expires, and needs no passphrase: \
    whether an encrypted key\nbelongs to its certificate shows when it is used."
)]
pub struct Check {
    /// The folder of the set.
    dir: PathBuf,
    /// Where PK and KEK are, if not in DIR/owner.
    #[arg(long, value_name = "DIR")]
    owner: Option<PathBuf>,
}

impl Check {
    /// Runs the subcommand.
    pub fn run(&self, context: Context, now: Stamp) -> Result<u8> {
        let findings = keys::check(&self.dir, self.owner.as_deref(), now)?;
        let (errors, rest): (Vec<_>, Vec<_>) = findings
            .into_iter()
            .partition(|finding| finding.severity == Severity::Error);
        for finding in &rest {
            if context.json {
                output::event("finding", serde_json::to_value(finding)?);
            } else if !context.quiet {
                let word = match finding.severity {
                    Severity::Note => "note",
                    _ => "warning",
                };
                output::line_out(&format!("{word}: {}", finding.message));
                for hint in &finding.hints {
                    output::line_out(&format!("hint: {hint}"));
                }
            }
        }
        if let Some(failure) = failure_of(errors) {
            return Err(failure.into());
        }
        let dir = self.dir.display();
        if context.json {
            output::event(
                "result",
                json!({"dir": dir.to_string(), "findings": rest.len()}),
            );
        } else if !context.quiet {
            output::line_out(&format!("{dir}: good"));
        }
        Ok(0)
    }
}

/// All errors in one, so that they can be mended in one go.
fn failure_of(errors: Vec<Finding>) -> Option<Failure> {
    let mut failures = errors.into_iter().map(|finding| {
        finding
            .hints
            .into_iter()
            .fold(Failure::new(Kind::Keys, finding.message), Failure::hint)
    });
    let mut first = failures.next()?;
    first.others = failures.collect();
    Some(first)
}
