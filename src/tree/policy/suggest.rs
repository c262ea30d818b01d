//! "Did you mean …?"

/// The candidate nearest to `name`, if one is near enough to be a slip of the fingers.
#[must_use]
pub fn did_you_mean<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .min()
        .filter(|(d, _)| *d <= (name.chars().count() / 3).max(1))
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(i + 1);
        for ((cb, pair), left) in b.iter().zip(row.windows(2)).zip(0..) {
            let change = pair[0] + usize::from(ca != *cb);
            let insert: usize = next.get(left).map_or(usize::MAX, |n: &usize| n + 1);
            next.push(change.min(pair[1] + 1).min(insert));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::did_you_mean;

    #[test]
    fn only_near_names_are_suggested() {
        let units = ["ssh.service", "containerd.service", "dbus.socket"];
        assert_eq!(did_you_mean("sshd.service", units), Some("ssh.service"));
        assert_eq!(
            did_you_mean("contianerd.service", units),
            Some("containerd.service")
        );
        assert_eq!(did_you_mean("nfs-server.target", units), None);
    }
}
