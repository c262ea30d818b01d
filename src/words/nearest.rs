//! "Did you mean …?"

/// Longer words are no slip of the fingers, and dear to compare.
const LONGEST: usize = 200;

/// The nearest of `candidates`, if it is near enough to be a slip of the fingers.
#[must_use]
pub fn nearest<'a>(wrong: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest_few(wrong, candidates, 1).pop()
}

/// At most `most` of `candidates` that are near enough to be meant, nearest first. Case does not
/// count, nor does `-` for `_`.
#[must_use]
pub fn nearest_few<'a>(
    wrong: &str,
    candidates: impl IntoIterator<Item = &'a str>,
    most: usize,
) -> Vec<&'a str> {
    if wrong.len() > LONGEST {
        return Vec::new();
    }
    let wrong = folded(wrong);
    let length = wrong.chars().count();
    let allowed = (length / 3).clamp(1, 4);
    let mut near: Vec<_> = candidates
        .into_iter()
        // Bytes and characters differ by less than this in every name worth suggesting.
        .filter(|other| other.len().abs_diff(wrong.len()) <= allowed * 4)
        .map(|other| (strsim::damerau_levenshtein(&wrong, &folded(other)), other))
        .filter(|(distance, _)| *distance <= allowed)
        .collect();
    near.sort_unstable();
    near.dedup();
    near.truncate(most);
    near.into_iter().map(|(_, other)| other).collect()
}

fn folded(name: &str) -> String {
    name.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_names_are_suggested() {
        let known = [
            "ssh.service",
            "containerd.service",
            "dbus.socket",
            "erofs",
            "virtio_blk",
        ];
        for (wrong, meant) in [
            ("sshd.service", Some("ssh.service")),
            ("contianerd.service", Some("containerd.service")),
            ("erosf", Some("erofs")),
            ("Virtio-blck", Some("virtio_blk")),
            ("nfs-server.target", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, known), meant, "{wrong}");
        }
        assert_eq!(nearest(&"x".repeat(LONGEST + 1), known), None);
    }

    #[test]
    fn several_come_nearest_first_and_once() {
        let known = ["bash", "dash", "base", "cash", "dash"];
        assert_eq!(nearest_few("dash", known, 3), ["dash", "bash", "cash"]);
    }
}
