//! Where a value was written, and how a place in a profile is shown to people.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::failure::{Failure, Kind};

/// What relative paths in a source are relative to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A folder of the machine.
    Folder(PathBuf),
    /// `profiles/` inside the binary.
    Embedded,
}

/// A text that profile values come from: a file, an embedded profile or an argument.
#[derive(Debug)]
pub struct Source {
    /// As messages name it.
    pub name: PathBuf,
    /// Everything it says.
    pub text: String,
    /// What its relative paths are relative to.
    pub base: Base,
}

/// The place of a value: bytes of a source.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The text.
    pub source: Arc<Source>,
    /// Start and end in bytes.
    pub span: Range<usize>,
}

impl Origin {
    /// A place; the span is forced into the text and onto characters.
    pub fn new(source: &Arc<Source>, span: Range<usize>) -> Self {
        let text = &source.text;
        let start = text.floor_char_boundary(span.start);
        let end = text.floor_char_boundary(span.end).max(start);
        Self {
            source: Arc::clone(source),
            span: start..end,
        }
    }

    /// Line and column in characters, both from 1.
    #[must_use]
    pub fn position(&self) -> (u64, u64) {
        let before = &self.source.text[..self.span.start];
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        let column = self.source.text[self.line_start()..self.span.start]
            .chars()
            .count()
            + 1;
        (line as u64, column as u64)
    }

    fn line_start(&self) -> usize {
        self.source.text[..self.span.start]
            .rfind('\n')
            .map_or(0, |at| at + 1)
    }

    /// `file:line` for lists of origins.
    #[must_use]
    pub fn short(&self) -> String {
        if self.is_argument() {
            return "command line".into();
        }
        format!("{}:{}", self.source.name.display(), self.position().0)
    }

    /// Whether the value was given as an argument.
    #[must_use]
    pub fn is_argument(&self) -> bool {
        self.source.name == Path::new(super::ARGUMENT)
    }

    /// The line with the place marked by carets and a label, in plain text.
    fn excerpt(&self, label: &str) -> String {
        const LONGEST: usize = 4000;
        let text = &self.source.text;
        let start = self.line_start();
        let end = text[self.span.start..]
            .find('\n')
            .map_or(text.len(), |at| self.span.start + at);
        let line = text[start..end].trim_end_matches('\r');
        let (number, column) = self.position();
        if line.len() > LONGEST {
            return format!("  line {number}, column {column} (too long to show)");
        }
        let from = (self.span.start - start).min(line.len());
        let to = (self.span.end.max(self.span.start) - start).clamp(from, line.len());
        let report = [Group::with_level(Level::ERROR).element(
            Snippet::source(line)
                .line_start(usize::try_from(number).unwrap_or(usize::MAX))
                .path(self.source.name.display().to_string())
                .annotation(
                    AnnotationKind::Primary
                        .span(from..to)
                        .label(label.to_string()),
                ),
        )];
        Renderer::plain().render(&report)
    }
}

/// One thing that is wrong with a profile.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Where, if it has a place.
    pub origin: Option<Origin>,
    /// What is wrong and what was expected.
    pub message: String,
    /// A few words at the caret.
    pub label: String,
    /// What to do next.
    pub hints: Vec<String>,
    /// Whether the line must not be repeated on screens and in logs.
    pub secret: bool,
}

impl Problem {
    /// A problem at a place.
    pub fn at(origin: &Origin, message: impl Into<String>) -> Self {
        Self {
            origin: Some(origin.clone()),
            message: message.into(),
            label: String::new(),
            hints: Vec::new(),
            secret: false,
        }
    }

    /// A problem of the profile as a whole.
    pub fn of(message: impl Into<String>) -> Self {
        Self {
            origin: None,
            message: message.into(),
            label: String::new(),
            hints: Vec::new(),
            secret: false,
        }
    }

    /// Words at the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    fn failure(&self) -> Failure {
        let mut failure = Failure::new(Kind::Usage, self.message.clone());
        if let Some(origin) = &self.origin {
            let (line, column) = origin.position();
            failure = failure.at(&origin.source.name, Some(line), Some(column));
            if !self.secret {
                failure = failure.snippet(origin.excerpt(&self.label));
            }
        }
        failure.hints.clone_from(&self.hints);
        failure
    }
}

/// The most problems that one run shows.
pub const MOST_SHOWN: usize = 10;

/// One failure for all problems: the first, with the others in it.
#[must_use]
pub fn failure(problems: &[Problem]) -> Failure {
    let Some((first, rest)) = problems.split_first() else {
        return Failure::new(Kind::Bug, "a profile was refused for no reason");
    };
    let shown = rest.iter().take(MOST_SHOWN - 1);
    Failure {
        others: shown.map(Problem::failure).collect(),
        omitted: problems.len().saturating_sub(MOST_SHOWN),
        ..first.failure()
    }
}
