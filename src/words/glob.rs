//! Shell globs as fnmatch(3) without flags: `*`, `?`, `[…]`, and `*` matches `/` too.

/// Whether `text` matches `pattern`.
#[must_use]
pub fn matches(pattern: &str, text: &str) -> bool {
    // Most texts differ before the first wildcard.
    let literal = pattern.find(['*', '?', '[', '\\']);
    if !text.starts_with(&pattern[..literal.unwrap_or(pattern.len())]) {
        return false;
    }
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // Iterative with one backtrack point: linear in practice, and deep patterns cannot overflow.
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            Some('[') => {
                if let Some((hit, after)) = class(&pattern, p, text[t]) {
                    if hit {
                        p = after;
                        t += 1;
                        continue;
                    }
                } else if text[t] == '[' {
                    p += 1;
                    t += 1;
                    continue;
                }
            }
            Some('?') => {
                p += 1;
                t += 1;
                continue;
            }
            Some(&c) if c == text[t] => {
                p += 1;
                t += 1;
                continue;
            }
            _ => {}
        }
        let Some((at, seen)) = star else {
            return false;
        };
        star = Some((at, seen + 1));
        p = at + 1;
        t = seen + 1;
    }
    pattern[p..].iter().all(|&c| c == '*')
}

/// Whether `c` is in the bracket expression that starts at `start`, and where that ends.
fn class(pattern: &[char], start: usize, c: char) -> Option<(bool, usize)> {
    let mut at = start + 1;
    let negated = matches!(pattern.get(at), Some('!' | '^'));
    if negated {
        at += 1;
    }
    let first = at;
    let mut hit = false;
    loop {
        let &low = pattern.get(at)?;
        if low == ']' && at > first {
            return Some((hit != negated, at + 1));
        }
        let high = match (pattern.get(at + 1), pattern.get(at + 2)) {
            (Some('-'), Some(&high)) if high != ']' => {
                at += 2;
                high
            }
            _ => low,
        };
        hit |= (low..=high).contains(&c);
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn globs_match_as_fnmatch_does() {
        for (pattern, text, expected) in [
            ("libc6", "libc6-dev", false),
            ("*-perl", "libtext-iconv-perl", true),
            ("gcc-*-base", "gcc-14-base-x", false),
            ("*", "", true),
            ("*", "a.service", true),
            (
                "systemd-journal-remote.*",
                "systemd-journal-remote.socket",
                true,
            ),
            ("systemd-journal-remote.*", "systemd-journal-remotex", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("[ab]x", "bx", true),
            ("[!ab]x", "bx", false),
            ("[a-c]*[0-9]", "bz9", true),
            ("[]]", "]", true),
            ("[", "[", true),
            ("*a*b", "xaxxab", true),
            ("*a*b", "xaxxabc", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} on {text}");
        }
    }
}
