//! Measurements as Markdown and as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::measure::Row;

/// Cases that stand against each other.
#[derive(Debug, Clone, Default)]
pub struct Group {
    /// What they have in common.
    pub name: String,
    /// The cases.
    pub rows: Vec<Row>,
}

/// A comparison that somebody wants to know, and what it should be.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What is compared.
    pub what: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What it should be: at most, or at least, so much.
    pub goal: Option<Goal>,
}

/// A bound.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    /// No more.
    AtMost(f64),
    /// No less.
    AtLeast(f64),
}

impl Finding {
    /// Whether the goal is reached; always, where there is none.
    pub fn is_met(&self) -> bool {
        match self.goal {
            None => true,
            Some(Goal::AtMost(bound)) => self.value <= bound,
            Some(Goal::AtLeast(bound)) => self.value >= bound,
        }
    }

    fn line(&self) -> String {
        let number = |value: f64| format!("{}{}", digits(value), self.unit);
        let goal = match self.goal {
            None => String::new(),
            Some(Goal::AtMost(bound)) => format!(" (goal: at most {})", number(bound)),
            Some(Goal::AtLeast(bound)) => format!(" (goal: at least {})", number(bound)),
        };
        let missed = if self.is_met() { "" } else { " **missed**" };
        format!("- {}: {}{goal}{missed}", self.what, number(self.value))
    }
}

/// One of the things that are measured.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// As `--only` calls it.
    pub name: &'static str,
    /// For people.
    pub title: &'static str,
    /// What was measured on what, and how.
    pub method: Vec<String>,
    /// The tables.
    pub groups: Vec<Group>,
    /// What follows from them.
    pub findings: Vec<Finding>,
}

/// Three digits that count.
pub fn digits(value: f64) -> String {
    let places = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 0.0995 || v == 0.0 => 2,
        v if v >= 0.00995 => 3,
        _ => 4,
    };
    format!("{value:.places$}")
}

const MIB: f64 = 1_048_576.0;
const MB: f64 = 1e6;

impl Group {
    fn markdown(&self, out: &mut String) {
        let sized = self.rows.iter().any(|row| row.size().is_some());
        let _ = write!(
            out,
            "\n| {} | wall s: median (range) | CPU s | peak MiB |{}\n|---|---|---|---|{}\n",
            self.name,
            if sized { " MB |" } else { "" },
            if sized { "---|" } else { "" }
        );
        for row in &self.rows {
            let Some((low, middle, high)) = row.wall() else {
                continue;
            };
            let dash = || "–".to_owned();
            let _ = write!(
                out,
                "| {} | {} ({}–{}) | {} | {} |",
                row.name,
                digits(middle),
                digits(low),
                digits(high),
                row.cpu().map_or_else(dash, |(_, cpu, _)| digits(cpu)),
                row.memory()
                    .map_or_else(dash, |bytes| format!("{:.0}", bytes as f64 / MIB)),
            );
            if sized {
                let size = row
                    .size()
                    .map_or_else(dash, |bytes| format!("{:.1}", bytes / MB));
                let _ = write!(out, " {size} |");
            }
            out.push('\n');
        }
        for row in &self.rows {
            if let Some(why) = &row.failure {
                let _ = write!(out, "\n{} failed: {why}\n", row.name);
            }
        }
    }
}

impl Section {
    /// What went wrong.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        self.groups.iter().flat_map(|group| {
            group
                .rows
                .iter()
                .filter(|row| row.failure.is_some())
                .map(|row| format!("{} · {}", group.name, row.name))
        })
    }

    /// The row called `row` in the group called `group`.
    pub fn row(&self, group: &str, row: &str) -> Option<&Row> {
        self.groups
            .iter()
            .find(|candidate| candidate.name == group)?
            .rows
            .iter()
            .find(|candidate| candidate.name == row)
    }

    /// The findings whose figures are known: what, value, unit, goal.
    pub fn find(
        &mut self,
        findings: impl IntoIterator<Item = (&'static str, Option<f64>, &'static str, Option<Goal>)>,
    ) {
        for (what, value, unit, goal) in findings {
            let what = what.to_owned();
            self.findings.extend(value.map(|value| Finding {
                what,
                value,
                unit,
                goal,
            }));
        }
    }

    /// Method, tables and findings.
    pub fn markdown(&self) -> String {
        let mut out = String::new();
        for line in &self.method {
            out.push_str(line);
            out.push('\n');
        }
        for group in &self.groups {
            group.markdown(&mut out);
        }
        if !self.findings.is_empty() {
            out.push('\n');
        }
        for finding in &self.findings {
            out.push_str(&finding.line());
            out.push('\n');
        }
        out
    }

    /// Every figure.
    pub fn json(&self) -> Value {
        let rows = |group: &Group| -> Vec<Value> {
            group
                .rows
                .iter()
                .map(|row| {
                    let samples: Vec<Value> = row
                        .samples
                        .iter()
                        .map(|s| {
                            json!({"wall": s.wall, "cpu": s.cpu, "memory": s.memory, "size": s.size})
                        })
                        .collect();
                    json!({"name": row.name, "samples": samples, "failure": row.failure})
                })
                .collect()
        };
        let groups: Vec<Value> = self
            .groups
            .iter()
            .map(|group| json!({"name": group.name, "rows": rows(group)}))
            .collect();
        let findings: Vec<Value> = self
            .findings
            .iter()
            .map(|finding| {
                json!({
                    "what": finding.what, "value": finding.value, "unit": finding.unit.trim(),
                    "met": finding.is_met(),
                })
            })
            .collect();
        json!({
            "name": self.name, "method": self.method, "groups": groups, "findings": findings,
        })
    }
}

/// Puts `text` between the markers of `name` in `document`; `None` where it has no such markers.
pub fn fill(document: &str, name: &str, text: &str) -> Option<String> {
    let (begin, end) = (
        format!("<!-- bench:{name} -->\n"),
        format!("<!-- /bench:{name} -->"),
    );
    let from = document.find(&begin)? + begin.len();
    let to = from + document.get(from..)?.find(&end)?;
    let (head, tail) = (document.get(..from)?, document.get(to..)?);
    Some(format!("{head}\n{}\n\n{tail}", text.trim()))
}

#[cfg(test)]
mod tests {
    use super::super::measure::Sample;
    use super::*;

    #[test]
    fn rows_without_a_run_are_left_out_and_failures_are_named() {
        let sample = Sample {
            wall: 1.25,
            cpu: Some(2.0),
            memory: Some(3 << 20),
            size: Some(12_345_678),
        };
        let section = Section {
            name: "erofs",
            method: vec!["How.".into()],
            groups: vec![Group {
                name: "zstd".into(),
                rows: vec![
                    Row {
                        name: "ours".into(),
                        samples: vec![sample],
                        failure: None,
                    },
                    Row {
                        name: "other".into(),
                        samples: Vec::new(),
                        failure: Some("it is not there".into()),
                    },
                ],
            }],
            findings: vec![Finding {
                what: "size".into(),
                value: 1.02,
                unit: " ×",
                goal: Some(Goal::AtMost(1.01)),
            }],
            ..Section::default()
        };
        assert_eq!(
            section.markdown(),
            "How.\n\n\
             | zstd | wall s: median (range) | CPU s | peak MiB | MB |\n|---|---|---|---|---|\n\
             | ours | 1.25 (1.25–1.25) | 2.00 | 3 | 12.3 |\n\n\
             other failed: it is not there\n\n\
             - size: 1.02 × (goal: at most 1.01 ×) **missed**\n"
        );
        let failures: Vec<_> = section.failures().collect();
        assert_eq!(failures, ["zstd · other"]);
        assert_eq!(
            section.json()["groups"][0]["rows"][0]["samples"][0]["wall"],
            1.25
        );
    }

    #[test]
    fn documents_are_filled_between_their_markers_again_and_again() {
        let document = "a\n<!-- bench:x -->\n<!-- /bench:x -->\nb\n";
        let once = fill(document, "x", "table\n").expect("there are markers");
        assert_eq!(
            once,
            "a\n<!-- bench:x -->\n\ntable\n\n<!-- /bench:x -->\nb\n"
        );
        assert_eq!(fill(&once, "x", "table\n"), Some(once.clone()));
        assert_eq!(fill(document, "y", ""), None);
    }

    #[test]
    fn figures_have_three_digits() {
        for (value, wanted) in [
            (131.4, "131"),
            (36.24, "36.2"),
            (1.284, "1.28"),
            (0.0414, "0.041"),
            (0.00123, "0.0012"),
            (0.0, "0.00"),
        ] {
            assert_eq!(digits(value), wanted);
        }
    }
}
