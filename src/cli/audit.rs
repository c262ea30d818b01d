//! `hullwright audit`: what an image lacks, and what it should not have.

use anyhow::Result;
use serde_json::json;

use super::look::LookArguments;
use super::{Context, output};
use crate::audit::{Explainer, RULES, Verdict};
use crate::build;

/// Name what an image lacks and what it should not have, as every build does.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    hullwright audit qemu\n  \
    hullwright audit my-host.yaml --json\n  \
    hullwright audit --rules\n\n\
    What is as it should be, the profile allows with a reason: see `allow` in docs/audit.md. The exit\n\
    status is 5 if anything else is found.")]
pub struct Audit {
    /// A built-in name or a path.
    #[arg(required_unless_present = "rules")]
    profile: Option<String>,
    #[command(flatten)]
    look: LookArguments,
    /// List the rules, which are the same for every profile.
    #[arg(long, conflicts_with = "profile")]
    rules: bool,
}

impl Audit {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        match &self.profile {
            Some(profile) => self.audit(profile, context)?,
            None => rules(context),
        }
        Ok(0)
    }

    fn audit(&self, profile: &str, context: Context) -> Result<()> {
        let look = self.look.open(profile, context)?;
        let verdict = build::audit(&look.inputs()?)?;
        let explainer = Explainer::new(&look.loaded, &look.lock);
        if !context.json && !context.quiet {
            tell(&explainer, &verdict);
        }
        for allowed in verdict.allowed.iter().filter(|_| context.json) {
            let (reason, place) = explainer.reason(allowed);
            let mut fields = explainer.json(&allowed.finding);
            if let Some(fields) = fields.as_object_mut() {
                fields.remove("allow");
                fields.insert("reason".into(), reason.into());
                fields.insert("allowed_at".into(), place.into());
            }
            output::event("allowed", fields);
        }
        explainer.ensure(&verdict, usize::MAX)?;
        let unused = explainer.unused(&verdict);
        if context.json {
            let unused = unused
                .iter()
                .map(|(line, _)| json!({"path": line.value, "place": line.place}));
            output::event(
                "result",
                json!({
                    "profile": look.loaded.stem,
                    "arch": look.loaded.profile.arch,
                    "allowed": verdict.allowed.len(),
                    "unused": unused.collect::<Vec<_>>(),
                }),
            );
        } else if !context.quiet {
            output::line_out(&format!(
                "{} for {}: nothing is missing or out of place by {} rules; {} findings are allowed",
                look.loaded.stem,
                look.loaded.profile.arch,
                RULES.len(),
                verdict.allowed.len(),
            ));
        }
        Ok(())
    }
}

/// What is allowed, and what allows nothing.
fn tell(explainer: &Explainer<'_>, verdict: &Verdict) {
    for allowed in &verdict.allowed {
        let finding = &allowed.finding;
        let (reason, place) = explainer.reason(allowed);
        output::line_out(&format!(
            "{}: {} ({})\n  allowed: {reason} ({place})",
            finding.path, finding.message, finding.rule
        ));
    }
    for line in explainer.stale(verdict) {
        output::line_out(&line);
    }
}

fn rules(context: Context) {
    if context.json {
        let rules = RULES
            .iter()
            .map(|rule| json!({"name": rule.name, "about": rule.about}));
        output::event("result", json!({"rules": rules.collect::<Vec<_>>()}));
        return;
    }
    for rule in RULES {
        output::line_out(&format!("{}\n  {}", rule.name, rule.about));
    }
}
