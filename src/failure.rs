//! The one error type that the edge of the program renders, and the exit code of each kind.
//!
//! Rooms return `anyhow::Result`. Where the person at the keyboard can mend something, the innermost
//! error is a [`Failure`]: it knows its [`Kind`] (which selects the exit code), the place in the
//! input, and hints. Where a caller decides on an error, the room has its own `thiserror` enum and a
//! `From<…> for Failure`.

use std::fmt;
use std::path::PathBuf;

/// What went wrong, in the classes that scripts tell apart by exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Bad command line or bad profile.
    Usage,
    /// The requested packages cannot be installed together.
    Unsatisfiable,
    /// The archive could not be reached, or something downloaded failed verification.
    Archive,
    /// The finished tree breaks a rule of the audit.
    Audit,
    /// Content is larger than the partition or field it has to fit.
    DoesNotFit,
    /// The machine: disk full, read-only directory, missing HOME, no QEMU.
    Environment,
    /// Keys or signer.
    Keys,
    /// `run --exec`: hullwright's own failure (the guest's status is passed on otherwise).
    Guest,
    /// A time limit given by the user has passed.
    TimedOut,
    /// A defect in hullwright.
    Bug,
    /// Ctrl-C or SIGTERM.
    Interrupted,
}

impl Kind {
    /// The process exit code that is part of the command line's contract.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::Unsatisfiable => 3,
            Self::Archive => 4,
            Self::Audit => 5,
            Self::DoesNotFit => 6,
            Self::Environment => 7,
            Self::Keys => 8,
            Self::Bug => 70,
            Self::TimedOut => 124,
            Self::Guest => 125,
            Self::Interrupted => 130,
        }
    }

    /// The stable name that `--json` prints.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Unsatisfiable => "unsatisfiable",
            Self::Archive => "archive",
            Self::Audit => "audit",
            Self::DoesNotFit => "does-not-fit",
            Self::Environment => "environment",
            Self::Keys => "keys",
            Self::Guest => "guest",
            Self::TimedOut => "timed-out",
            Self::Bug => "bug",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A place in an input file. Lines and columns count from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file, as the user named it.
    pub file: PathBuf,
    /// Line, from 1.
    pub line: Option<u64>,
    /// Column in characters, from 1.
    pub column: Option<u64>,
}

/// An error with everything a person needs to mend it.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Class, and so exit code.
    pub kind: Kind,
    /// One sentence: what was being done, to what, what was found and what was expected.
    pub message: String,
    /// Where in the input.
    pub place: Option<Place>,
    /// A rendered excerpt of the input with the offending part marked, shown after the message.
    pub snippet: Option<String>,
    /// What to do next, one sentence each.
    pub hints: Vec<String>,
    /// What else is wrong with the same input, so that it can be mended in one go.
    pub others: Vec<Self>,
    /// How many more there are that were left out.
    pub omitted: usize,
}

impl Failure {
    /// A failure of `kind` with its message.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            place: None,
            snippet: None,
            hints: Vec::new(),
            others: Vec::new(),
            omitted: 0,
        }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds the place in the input.
    #[must_use]
    pub fn at(mut self, file: impl Into<PathBuf>, line: Option<u64>, column: Option<u64>) -> Self {
        self.place = Some(Place {
            file: file.into(),
            line,
            column,
        });
        self
    }

    /// Adds a rendered excerpt of the input.
    #[must_use]
    pub fn snippet(mut self, text: impl Into<String>) -> Self {
        self.snippet = Some(text.into());
        self
    }

    /// What follows the message on a screen: excerpt, hints, and what else is wrong. Empty, or whole
    /// lines.
    #[must_use]
    pub fn details(&self) -> String {
        // Among several problems, indentation tells whose hint it is.
        let indent = if self.others.is_empty() { "" } else { "  " };
        let mut text = String::new();
        self.add_details(indent, &mut text);
        for other in &self.others {
            text.push_str(&format!("error: {other}\n"));
            other.add_details(indent, &mut text);
        }
        if self.omitted > 0 {
            text.push_str(&format!("… and {} more problems\n", self.omitted));
        }
        text
    }

    fn add_details(&self, indent: &str, text: &mut String) {
        if let Some(snippet) = &self.snippet {
            text.push_str(snippet.trim_end_matches('\n'));
            text.push('\n');
        }
        for hint in &self.hints {
            text.push_str(&format!("{indent}hint: {hint}\n"));
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{}", place.file.display())?;
            if let Some(line) = place.line {
                write!(f, ":{line}")?;
            }
            if let Some(column) = place.column {
                write!(f, ":{column}")?;
            }
            write!(f, ": ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The kind of the innermost [`Failure`] of a chain; an I/O error without one is the machine's,
/// everything else is a bug.
#[must_use]
pub fn kind_of(error: &anyhow::Error) -> Kind {
    if let Some(failure) = failure_of(error) {
        return failure.kind;
    }
    if error
        .chain()
        .any(|cause| cause.downcast_ref::<std::io::Error>().is_some())
    {
        return Kind::Environment;
    }
    Kind::Bug
}

/// The [`Failure`] inside a chain of contexts, if there is one.
#[must_use]
pub fn failure_of(error: &anyhow::Error) -> Option<&Failure> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<Failure>())
}
