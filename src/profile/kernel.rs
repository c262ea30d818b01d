//! What the kernel's package shows to be wrong with `kernel.modules` and `kernel.firmware`.

use super::load::Loaded;
use super::source::{Base, Problem, failure};
use crate::kernel::Missing;

impl Loaded {
    /// Refuses entries of `kernel.modules` that mean nothing to kernel `version`. What built-in profiles
    /// name need not be there: they serve several kernels.
    ///
    /// # Errors
    /// There are some.
    pub fn refuse_unknown_modules(
        &self,
        version: &str,
        unknown: &[(usize, Missing)],
    ) -> anyhow::Result<()> {
        let list = self.list(&["kernel", "modules"]);
        let mut problems = Vec::new();
        for (at, missing) in unknown {
            let Some(node) = list.get(*at) else { continue };
            if node.origin.source.base == Base::Embedded {
                continue;
            }
            let text = node.text().unwrap_or_default();
            let (sign, name) = match text.strip_prefix('!') {
                Some(name) => ("!", name),
                None => ("", text),
            };
            let which = if name.contains(['*', '?', '[', '/']) {
                "that matches "
            } else {
                ""
            };
            let problem = Problem::at(
                &node.origin,
                format!("kernel {version} has no module {which}`{name}`, nor is one built in"),
            );
            problems.push(match missing.nearest.as_slice() {
                [] => problem,
                near => {
                    let near: Vec<_> = near.iter().map(|near| format!("`{sign}{near}`")).collect();
                    problem.hint(format!("did you mean {}?", near.join(" or ")))
                }
            });
        }
        if problems.is_empty() {
            return Ok(());
        }
        Err(failure(&problems).into())
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
