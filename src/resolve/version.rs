//! Debian version comparison, as deb-version(7) and dpkg define it.
//!
//! `[epoch:]upstream[-revision]`: epochs compare as numbers, then the upstream parts, then the
//! revisions, each as alternating runs of non-digits and digits. In a run of non-digits `~` sorts
//! before the end, the end before letters, letters before everything else.

use std::cmp::Ordering;

/// Compares two versions. Versions that differ as text can be equal (`1.` and `1.0`).
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, b) = (Parts::of(a), Parts::of(b));
    numbers(a.epoch, b.epoch)
        .then_with(|| part(a.upstream, b.upstream))
        .then_with(|| part(a.revision, b.revision))
}

/// A relation between versions, as in `(>= 1.2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    /// Whether `found` stands in this relation to `wanted`.
    #[must_use]
    pub fn holds(self, found: &str, wanted: &str) -> bool {
        let order = compare(found, wanted);
        match self {
            Self::Earlier => order.is_lt(),
            Self::EarlierOrEqual => order.is_le(),
            Self::Equal => order.is_eq(),
            Self::LaterOrEqual => order.is_ge(),
            Self::Later => order.is_gt(),
        }
    }

    /// As relation fields write it.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        }
    }
}

struct Parts<'a> {
    epoch: &'a [u8],
    upstream: &'a [u8],
    revision: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Self {
        let (epoch, rest) = match text.split_once(':') {
            Some((epoch, rest)) if epoch.bytes().all(|c| c.is_ascii_digit()) => (epoch, rest),
            _ => ("", text),
        };
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        Self {
            epoch: epoch.as_bytes(),
            upstream: upstream.as_bytes(),
            revision: revision.as_bytes(),
        }
    }
}

/// Compares two runs of digits of any length as numbers.
fn numbers(a: &[u8], b: &[u8]) -> Ordering {
    let significant = |digits: &[u8]| digits.iter().take_while(|c| **c == b'0').count();
    let (a, b) = (&a[significant(a)..], &b[significant(b)..]);
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Rank of a byte in a run of non-digits; the end of the text and digits rank as 0.
fn rank(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(c) if c.is_ascii_digit() => 0,
        Some(b'~') => -1,
        Some(c) if c.is_ascii_alphabetic() => i32::from(*c),
        Some(c) => i32::from(*c) + 256,
    }
}

fn part(mut a: &[u8], mut b: &[u8]) -> Ordering {
    let digit = |text: &[u8]| text.first().is_none_or(u8::is_ascii_digit);
    while !a.is_empty() || !b.is_empty() {
        while !digit(a) || !digit(b) {
            let order = rank(a.first()).cmp(&rank(b.first()));
            if order.is_ne() {
                return order;
            }
            a = a.get(1..).unwrap_or_default();
            b = b.get(1..).unwrap_or_default();
        }
        let run = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
        let (digits_a, rest_a) = a.split_at(run(a));
        let (digits_b, rest_b) = b.split_at(run(b));
        let order = numbers(digits_a, digits_b);
        if order.is_ne() {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_pairs_compare_as_dpkg_says() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, order) in [
            ("1.", "1.0", Equal),
            ("1.0", "1.0-0", Equal),
            ("0:1", "1", Equal),
            ("1.00", "1.0", Equal),
            ("1.0~rc1", "1.0", Less),
            ("1.0~~", "1.0~", Less),
            ("1.0", "1.0a", Less),
            ("1.0a", "1.0+", Less),
            ("1:0.1", "9.9", Greater),
            ("1.10", "1.9", Greater),
            ("2.41-12", "2.41-12+deb13u1", Less),
            ("257.9-1~deb13u1", "257.9-1", Less),
            ("1-1-1", "1-1-2", Less),
            ("99999999999999999999999", "100000000000000000000000", Less),
            ("1.0-1", "1.0-1~bpo1", Greater),
        ] {
            assert_eq!(compare(a, b), order, "{a} {b}");
            assert_eq!(compare(b, a), order.reverse(), "{b} {a}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(
            a in "([0-9]{1,2}:)?[0-9][0-9a-c.+~-]{0,6}",
            b in "([0-9]{1,2}:)?[0-9][0-9a-c.+~-]{0,6}",
            c in "([0-9]{1,2}:)?[0-9][0-9a-c.+~-]{0,6}",
        ) {
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            let mut sorted = [&a, &b, &c];
            sorted.sort_by(|x, y| compare(x, y));
            prop_assert!(compare(sorted[0], sorted[1]).is_le());
            prop_assert!(compare(sorted[1], sorted[2]).is_le());
            prop_assert!(compare(sorted[0], sorted[2]).is_le());
        }

        #[test]
        fn any_text_can_be_compared(a in ".{0,12}", b in ".{0,12}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
        }
    }
}
