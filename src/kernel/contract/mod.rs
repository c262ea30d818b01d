//! What an image asks of its kernel: the topics of `kernel-configs/`, held against the configuration
//! that the kernel's package ships.

mod config;
mod fragment;
#[cfg(test)]
mod reference;
mod topics;

pub use config::{Change, Config};
pub use fragment::{Level, Rule};
pub use topics::{Asked, BY_NAME, Needs, TOPICS, Topic, named};

use serde::Serialize;

use crate::failure::{Failure, Kind};

/// An option that is not as a topic asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unmet {
    /// The topic's name.
    pub topic: &'static str,
    /// The option, with `CONFIG_`.
    pub option: &'static str,
    /// Its values that would do, with `|` between.
    pub wanted: &'static str,
    /// Its value in the kernel's configuration; `n` where it is not set.
    pub found: String,
    /// What needs it.
    pub feature: &'static str,
    /// What happens without it; nothing where it is only recommended.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub breaks: &'static str,
    /// The reason.
    pub why: String,
}

impl std::fmt::Display for Unmet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            option,
            wanted,
            found,
            feature,
            breaks,
            why,
            ..
        } = self;
        write!(f, "{option} is {found}, wanted {wanted}: {why} ({feature}")?;
        if !breaks.is_empty() {
            write!(f, "; without: {breaks}")?;
        }
        f.write_str(")")
    }
}

/// What a configuration lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Required options, in the order of the topics.
    pub unmet: Vec<Unmet>,
    /// Recommended ones.
    pub lacking: Vec<Unmet>,
}

/// Holds a configuration against topics. What several of them ask for is named once.
#[must_use]
pub fn check(config: &Config<'_>, topics: &[&Topic]) -> Report {
    let mut report = Report::default();
    for topic in topics {
        for rule in topic.rules() {
            let found = config.get(rule.option);
            if rule.takes(found) {
                continue;
            }
            let list = match rule.level {
                Level::Required => &mut report.unmet,
                Level::Recommended => &mut report.lacking,
            };
            if list.iter().any(|unmet| unmet.option == rule.option) {
                continue;
            }
            list.push(Unmet {
                topic: topic.name,
                option: rule.option,
                wanted: rule.wanted,
                found: found.into(),
                feature: rule.feature,
                breaks: match rule.level {
                    Level::Required => rule.breaks,
                    Level::Recommended => "",
                },
                why: rule.why,
            });
        }
    }
    report
}

/// The failure of a kernel that does not have what is required.
#[must_use]
pub fn failure(kernel: &str, unmet: &[Unmet]) -> Failure {
    let list: Vec<String> = unmet.iter().map(|unmet| format!("  {unmet}")).collect();
    Failure::new(
        Kind::Audit,
        format!(
            "{kernel} can't run this image by its configuration:\n{}",
            list.join("\n")
        ),
    )
    .hint("name another kernel in kernel.package, or take the topic out with `-contract: [TOPIC]`")
}

/// Fails unless the configuration of kernel `version` meets `needs`.
///
/// # Errors
/// It does not; the message has a line for each option.
pub fn ensure(version: &str, config: &[u8], needs: Needs<'_>) -> anyhow::Result<()> {
    let config = String::from_utf8_lossy(config);
    let report = check(&Config::parse(&config), &needs.asked());
    if report.unmet.is_empty() {
        return Ok(());
    }
    Err(failure(&format!("kernel {version}"), &report.unmet).into())
}

#[cfg(test)]
mod tests;
