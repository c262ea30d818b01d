//! `hullwright kernel`: what a kernel's configuration has, held against what images ask of it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde_json::json;

use super::arguments::{ArchiveArguments, ProfileArguments};
use super::{Context, build, output};
use crate::archive::Releases;
use crate::build::packaged_kernel;
use crate::failure::{Failure, Kind};
use crate::kernel::contract::{self, Asked, Config, TOPICS, Topic, Unmet};
use crate::resolve::obtain;

/// Hold a kernel's configuration against what images ask of it.
#[derive(Debug, clap::Args)]
pub struct KernelCommand {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Name the options that a kernel lacks, and what breaks without them.
    #[command(after_help = "Examples:\n  \
        hullwright kernel check qemu\n  \
        hullwright kernel check /boot/config-6.12.117+deb13-amd64\n  \
        hullwright kernel check qemu --topic hardening")]
    Check {
        /// A profile (a built-in name or a path), or a kernel's configuration: a file not called
        /// `.yaml`, of which everything is asked but what is for a board.
        #[arg(value_name = "PROFILE|CONFIG")]
        kernel: String,
        /// Only this topic; may be repeated.
        #[arg(long = "topic", value_name = "TOPIC")]
        topics: Vec<String>,
        #[command(flatten)]
        arguments: ProfileArguments,
        #[command(flatten)]
        archive: ArchiveArguments,
    },
    /// List the options that differ between two kernels.
    #[command(
        after_help = "Example:\n  hullwright kernel diff qemu /boot/config-6.12.117+deb13-amd64"
    )]
    Diff {
        /// A profile or a kernel's configuration, as `check` takes it.
        #[arg(value_name = "PROFILE|CONFIG")]
        before: String,
        /// Another one.
        #[arg(value_name = "PROFILE|CONFIG")]
        after: String,
        #[command(flatten)]
        arguments: ProfileArguments,
        #[command(flatten)]
        archive: ArchiveArguments,
    },
}

/// A kernel's configuration with what is asked of it.
struct Subject {
    /// For people.
    name: String,
    config: String,
    topics: Vec<&'static Topic>,
}

impl KernelCommand {
    /// Runs the subcommand.
    pub fn run(&self, context: Context) -> Result<u8> {
        match &self.command {
            Command::Check {
                kernel,
                topics,
                arguments,
                archive,
            } => {
                let mut subject = subject(kernel, arguments, archive, context)?;
                if !topics.is_empty() {
                    subject.topics = topics
                        .iter()
                        .map(|name| named(name))
                        .collect::<Result<_>>()?;
                }
                check(&subject, context)
            }
            Command::Diff {
                before,
                after,
                arguments,
                archive,
            } => {
                let before = subject(before, arguments, archive, context)?;
                let after = subject(after, arguments, archive, context)?;
                diff(&before, &after, context);
                Ok(0)
            }
        }
    }
}

fn named(name: &str) -> Result<&'static Topic> {
    contract::named(name).ok_or_else(|| {
        let names: Vec<_> = TOPICS.iter().map(|topic| topic.name).collect();
        Failure::new(Kind::Usage, format!("--topic: there is no topic `{name}`"))
            .hint(format!("topics are {}", names.join(", ")))
            .into()
    })
}

fn subject(
    reference: &str,
    arguments: &ProfileArguments,
    archive: &ArchiveArguments,
    context: Context,
) -> Result<Subject> {
    let path = Path::new(reference);
    if path.is_file() && path.extension().is_none_or(|end| end != "yaml") {
        return from_file(path);
    }
    let loaded = arguments.load(reference)?;
    let archive = archive.context(&loaded, &build::progress(context), &Releases::default())?;
    let keyrings = loaded.keyrings()?;
    let lock = obtain::lock(&loaded, &keyrings, &archive)?;
    let kernel = packaged_kernel(&loaded, &lock, &keyrings, &archive)?;
    archive.store.tidy();
    Ok(Subject {
        name: format!("kernel {}", kernel.version),
        config: String::from_utf8_lossy(&kernel.config).into_owned(),
        topics: kernel.topics,
    })
}

fn from_file(path: &Path) -> Result<Subject> {
    let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let config = Config::parse(&text);
    if config.is_empty() {
        return Err(Failure::new(
            Kind::Usage,
            format!(
                "{} is no kernel's configuration: no line begins with CONFIG_",
                path.display()
            ),
        )
        .hint("a profile is named by its built-in name, or ends in `.yaml`")
        .into());
    }
    let arch = config.arch();
    let asked = |topic: &&Topic| match topic.asked {
        Asked::For(which) => arch == Some(which),
        Asked::ByName => topic.name != "raspberry-pi-4",
        _ => true,
    };
    Ok(Subject {
        name: path.display().to_string(),
        topics: TOPICS.iter().filter(asked).collect(),
        config: text,
    })
}

fn check(subject: &Subject, context: Context) -> Result<u8> {
    let report = contract::check(&Config::parse(&subject.config), &subject.topics);
    let topics: Vec<_> = subject.topics.iter().map(|topic| topic.name).collect();
    if context.json {
        for (level, list) in [
            ("required", &report.unmet),
            ("recommended", &report.lacking),
        ] {
            for unmet in list {
                let mut fields = serde_json::to_value(unmet)?;
                fields["level"] = level.into();
                output::event("finding", fields);
            }
        }
        if report.unmet.is_empty() {
            output::event(
                "result",
                json!({
                    "kernel": subject.name,
                    "topics": topics,
                    "lacking": report.lacking.len(),
                }),
            );
        }
    } else if !context.quiet {
        let asked: usize = subject.topics.iter().map(|topic| topic.rules().len()).sum();
        output::line_out(&format!(
            "{}: {asked} options ({}); {} required ones are missing, {} recommended ones",
            subject.name,
            topics.join(", "),
            report.unmet.len(),
            report.lacking.len(),
        ));
        lines("recommended", &report.lacking);
    }
    if report.unmet.is_empty() {
        return Ok(0);
    }
    Err(contract::failure(&subject.name, &report.unmet).into())
}

fn lines(level: &str, list: &[Unmet]) {
    for unmet in list {
        output::line_out(&format!("  {level}, {}: {unmet}", unmet.topic));
    }
}

fn diff(before: &Subject, after: &Subject, context: Context) {
    let (a, b) = (Config::parse(&before.config), Config::parse(&after.config));
    let changes = a.changes(&b);
    if context.json {
        output::event(
            "result",
            json!({"before": before.name, "after": after.name, "changes": changes}),
        );
        return;
    }
    let mut topics: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for topic in TOPICS {
        for rule in topic.rules() {
            topics.entry(rule.option).or_default().push(topic.name);
        }
    }
    for change in changes {
        let topic = topics.get(change.option);
        let topic = topic.map_or_else(String::new, |names| format!(" ({})", names.join(", ")));
        output::line_out(&format!(
            "{}: {} -> {}{topic}",
            change.option, change.before, change.after
        ));
    }
}
