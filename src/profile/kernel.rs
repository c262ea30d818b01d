//! What the kernel's package shows to be wrong with `kernel.modules` and `kernel.firmware`.

use super::load::Loaded;
use super::source::{Problem, failure};
use super::yaml::Node;
use crate::kernel::Missing;

impl Loaded {
    /// The failure of entries of `kernel.modules` that mean nothing to kernel `version`.
    #[must_use]
    pub fn unknown_modules(&self, version: &str, unknown: &[(usize, Missing)]) -> anyhow::Error {
        let problem = |node: &Node, missing: &Missing| {
            let text = node.text().unwrap_or_default();
            let problem = Problem::at(
                &node.origin,
                format!("kernel {version} has no module `{text}`, nor is one built in"),
            );
            match missing.nearest.as_slice() {
                [] => problem,
                near => {
                    let near: Vec<_> = near.iter().map(|name| format!("`{name}`")).collect();
                    problem.hint(format!("did you mean {}?", near.join(" or ")))
                }
            }
        };
        let list = self.list(&["kernel", "modules"]);
        let problems: Vec<_> = unknown
            .iter()
            .filter_map(|(at, missing)| Some(problem(list.get(*at)?, missing)))
            .collect();
        failure(&problems).into()
    }

    /// The failure of entries of `kernel.firmware` that match no file.
    #[must_use]
    pub fn unmatched_firmware(&self, unmatched: &[usize]) -> anyhow::Error {
        let list = self.list(&["kernel", "firmware"]);
        let nodes = unmatched.iter().filter_map(|at| list.get(*at));
        let problems: Vec<_> = nodes
            .map(|node| {
                let text = node.text().unwrap_or_default();
                Problem::at(
                    &node.origin,
                    format!("no package of the image ships firmware that matches `{text}`"),
                )
                .hint("it is a path below /usr/lib/firmware; add the package to packages.include")
            })
            .collect();
        failure(&problems).into()
    }
}
