//! The order of versions, as nodes see it: the UAPI version format specification
//! (<https://uapi-group.org/specifications/specs/version_format_specification/>), which is systemd's
//! `strverscmp_improved`. systemd-sysupdate, systemd-boot and this tool must agree on what is newer.

use std::cmp::Ordering;

/// Which of two versions is newer.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    loop {
        a = skip(a, |c| !is_version_byte(c));
        b = skip(b, |c| !is_version_byte(c));
        // A tilde is older than anything, the end of the string included.
        match separator(&mut a, &mut b, b'~') {
            Ordering::Equal => {}
            other => return other,
        }
        if a.is_empty() || b.is_empty() {
            return a.len().cmp(&b.len());
        }
        for mark in [b'-', b'^', b'.'] {
            match separator(&mut a, &mut b, mark) {
                Ordering::Equal => {}
                other => return other,
            }
        }
        let is_digit = |c: u8| c.is_ascii_digit();
        let numeric =
            a.first().copied().is_some_and(is_digit) || b.first().copied().is_some_and(is_digit);
        let order = if numeric {
            numbers(take(&mut a, is_digit), take(&mut b, is_digit))
        } else {
            let is_letter = |c: u8| c.is_ascii_alphabetic();
            take(&mut a, is_letter).cmp(take(&mut b, is_letter))
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

/// A byte that the order looks at; any other only separates.
const fn is_version_byte(c: u8) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, b'~' | b'-' | b'^' | b'.')
}

fn skip(text: &[u8], unwanted: impl Fn(u8) -> bool) -> &[u8] {
    let len = text.iter().take_while(|c| unwanted(**c)).count();
    text.get(len..).unwrap_or_default()
}

/// Takes the bytes from the front of `text` that are `wanted`.
fn take<'t>(text: &mut &'t [u8], wanted: impl Fn(u8) -> bool) -> &'t [u8] {
    let len = text.iter().take_while(|c| wanted(**c)).count();
    let (head, tail) = text.split_at(len);
    *text = tail;
    head
}

/// The string that begins with `mark` is older; where both do, it is taken away.
fn separator(a: &mut &[u8], b: &mut &[u8], mark: u8) -> Ordering {
    match (a.strip_prefix(&[mark]), b.strip_prefix(&[mark])) {
        (Some(rest_of_a), Some(rest_of_b)) => {
            (*a, *b) = (rest_of_a, rest_of_b);
            Ordering::Equal
        }
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// Digits by their value; no digits at all are older than any.
fn numbers(a: &[u8], b: &[u8]) -> Ordering {
    let value = |digits: &'_ [u8]| skip(digits, |c| c == b'0').to_vec();
    (!a.is_empty()).cmp(&!b.is_empty()).then_with(|| {
        let (a, b) = (value(a), value(b));
        a.len().cmp(&b.len()).then_with(|| a.cmp(&b))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn versions_are_ordered_as_the_specification_lists_them() {
        // From the oldest to the newest; equal ones share a row.
        let rows: [&[&str]; 21] = [
            &["~1"],
            &["", "_"],
            &["0", "00"],
            &["1~rc1"],
            &["1"],
            &["1-a"],
            &["1-1"],
            &["1^post"],
            &["1.a"],
            &["1.1", "1.01", "1_.1"],
            &["1a"],
            &["122.1"],
            &["123~rc1-1"],
            &["123", "123_"],
            &["123-a"],
            &["123-a.1"],
            &["123-1"],
            &["123^post1"],
            &["123.1-1"],
            &["123a-1"],
            &["124-1"],
        ];
        for (i, older) in rows.iter().enumerate() {
            for (j, newer) in rows.iter().enumerate() {
                for a in older.iter() {
                    for b in newer.iter() {
                        assert_eq!(compare(a, b), i.cmp(&j), "{a} and {b}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_specifications_examples_hold() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, order) in [
            ("11", "11", Equal),
            ("systemd-123", "systemd-123", Equal),
            ("bar-123", "foo-123", Less),
            ("123a", "123", Greater),
            ("123.a", "123", Greater),
            ("123.a", "123.b", Less),
            ("123a", "123.a", Greater),
            ("11α", "11β", Equal),
            ("A", "a", Less),
            ("", "0", Less),
            ("0.", "0", Greater),
            ("0.0", "0", Greater),
            ("0", "~", Greater),
            ("", "~", Greater),
            ("1_2", "1_1", Greater),
            ("1.0.9", "1.0.10", Less),
            ("1.0~rc.1", "1.0", Less),
            ("2.0.0-1", "2.0.0", Greater),
        ] {
            assert_eq!(compare(a, b), order, "{a} and {b}");
            assert_eq!(compare(b, a), order.reverse(), "{b} and {a}");
        }
    }

    proptest! {
        #[test]
        fn any_two_strings_have_an_order_and_its_reverse(a in "[0-9a-bA.~^_-]{0,8}", b in "[0-9a-bA.~^_-]{0,8}") {
            prop_assert_eq!(compare(&a, &b), compare(&b, &a).reverse());
            prop_assert_eq!(compare(&a, &a), Ordering::Equal);
        }

        #[test]
        fn the_order_is_transitive(a in "[01a.~-]{0,4}", b in "[01a.~-]{0,4}", c in "[01a.~-]{0,4}") {
            if compare(&a, &b).is_le() && compare(&b, &c).is_le() {
                prop_assert!(compare(&a, &c).is_le());
            }
        }
    }
}
