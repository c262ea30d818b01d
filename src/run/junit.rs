//! JUnit XML, the form that CI systems show.

use std::fmt::Write as _;
use std::time::Duration;

/// One thing that was checked.
#[derive(Debug, Clone)]
pub struct Check {
    /// What holds, as a sentence.
    pub name: String,
    /// When it was known, counted from the start.
    pub after: Duration,
    /// Why it does not hold.
    pub failure: Option<String>,
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\n' | '\t' => out.push(c),
            // XML 1.0 has no form for other control characters.
            c if c.is_control() => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// The report of one suite with the console as its output.
#[must_use]
pub fn report(suite: &str, checks: &[Check], console: &str) -> String {
    let failures = checks.iter().filter(|c| c.failure.is_some()).count();
    let time = checks.iter().map(|c| c.after).max().unwrap_or_default();
    let mut out = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"{}\" tests=\"{}\" failures=\"{failures}\" time=\"{:.3}\">\n",
        escape(suite),
        checks.len(),
        time.as_secs_f64()
    );
    for check in checks {
        let _ = write!(
            out,
            "  <testcase name=\"{}\" classname=\"{}\" time=\"{:.3}\"",
            escape(&check.name),
            escape(suite),
            check.after.as_secs_f64()
        );
        match &check.failure {
            None => out.push_str("/>\n"),
            Some(why) => {
                let _ = writeln!(
                    out,
                    ">\n    <failure message=\"{}\"/>\n  </testcase>",
                    escape(why)
                );
            }
        }
    }
    let _ = writeln!(
        out,
        "  <system-out>{}</system-out>\n</testsuite>",
        escape(console)
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_breaks_xml_is_escaped() {
        let checks = [
            Check {
                name: "a < b".into(),
                after: Duration::from_secs(1),
                failure: None,
            },
            Check {
                name: "c".into(),
                after: Duration::from_secs(2),
                failure: Some("\"x\" & \u{1b}".into()),
            },
        ];
        let text = report("image", &checks, "tail\u{0}");
        assert!(text.contains("tests=\"2\" failures=\"1\" time=\"2.000\""));
        assert!(text.contains("name=\"a &lt; b\""));
        assert!(text.contains("&quot;x&quot; &amp; \u{fffd}"));
        assert!(!text.contains('\u{0}') && !text.contains('\u{1b}'));
    }
}
