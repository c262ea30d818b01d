//! Programs with capabilities of their own.

use anyhow::Result;

use super::Rule;
use crate::audit::{Finding, Subject};
use crate::capability::{Capabilities, XATTR};

pub(super) const RULE: Rule = Rule {
    name: "capabilities",
    about: "A program has capabilities(7), whoever starts it: a flaw in it is a way to these rights. Every \
            one that an image has stands in `allow:`, with the reason.",
    check,
};

#[allow(clippy::unnecessary_wraps, reason = "as every rule")]
fn check(subject: &Subject<'_>) -> Result<Vec<Finding>> {
    let mut found = Vec::new();
    for (path, node) in subject.tree.iter() {
        let Some(value) = node.meta.xattrs.get(XATTR.as_bytes()) else {
            continue;
        };
        let names = Capabilities::parse(value).map(|all| all.names().collect::<Vec<_>>().join(","));
        let what = names.filter(|names| !names.is_empty());
        let what = what.unwrap_or_else(|| "capabilities".to_owned());
        let message = format!("has {what} of its own, whoever starts it");
        found.push(Finding::new(RULE.name, (path, node), what, message));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Image, file};

    #[test]
    fn capabilities_are_named() {
        let with = |value: &[u8]| {
            let mut node = file(0o755, "x");
            node.meta.xattrs.insert(XATTR.into(), value.to_vec());
            node
        };
        let value = [
            1, 0, 0, 2, 0, 0x24, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0,
        ];
        let image = Image::new(&[("usr/bin/plain", "x")])
            .with("usr/bin/ping", with(&value))
            .with("usr/bin/odd", with(&[1]));
        assert_eq!(
            image.findings(&RULE),
            [
                "/usr/bin/odd: capabilities",
                "/usr/bin/ping: cap_net_bind_service,cap_net_raw,cap_bpf",
            ]
        );
    }
}
