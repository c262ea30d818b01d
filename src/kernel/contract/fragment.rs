//! Fragments of `kernel-configs/`: Kconfig's own form with reasons in its comments.
//!
//! The first comment says what the fragment is about. `## FEATURE | CONSEQUENCE` begins what a feature
//! needs, and says what happens without what is required. A comment is the reason for the options right below it;
//! where it begins with `Recommended:`, the image runs without them, too.

/// How much an option matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// The image is not built without it.
    Required,
    /// The image runs without it, and somebody may miss it.
    Recommended,
}

/// One option that a fragment asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The option, with `CONFIG_`.
    pub option: &'static str,
    /// Its values that would do, with `|` between; `n` is an option that is not set.
    pub wanted: &'static str,
    /// How much it matters.
    pub level: Level,
    /// What needs it.
    pub feature: &'static str,
    /// What happens without what the feature requires.
    pub breaks: &'static str,
    /// The reason, one or two sentences.
    pub why: String,
}

impl Rule {
    /// Whether `value` does.
    #[must_use]
    pub fn takes(&self, value: &str) -> bool {
        self.wanted.split('|').any(|wanted| wanted == value)
    }
}

const RECOMMENDED: &str = "Recommended:";

/// What a fragment is about: its first comment.
pub(super) fn about(fragment: &'static str) -> String {
    let lines = fragment.lines().map_while(|line| line.strip_prefix('#'));
    let words: Vec<&str> = lines.flat_map(str::split_whitespace).collect();
    words.join(" ")
}

/// The options of a fragment, in its order.
pub(super) fn rules(fragment: &'static str) -> Vec<Rule> {
    let mut out = Vec::new();
    let (mut feature, mut breaks) = ("", "");
    let mut why: Vec<&str> = Vec::new();
    let mut fresh = false;
    for line in fragment.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix("##") {
            let (name, consequence) = heading.split_once('|').unwrap_or((heading, ""));
            (feature, breaks) = (name.trim(), consequence.trim());
        } else if let Some(comment) = line.strip_prefix('#') {
            if !fresh {
                why.clear();
            }
            why.push(comment.trim());
            fresh = true;
            continue;
        } else if let Some((option, wanted)) = line.split_once('=') {
            let text = why.join(" ");
            let recommended = text.strip_prefix(RECOMMENDED).map(str::trim);
            out.push(Rule {
                option,
                wanted,
                level: match recommended {
                    Some(_) => Level::Recommended,
                    None => Level::Required,
                },
                feature,
                breaks,
                why: recommended.map_or_else(|| text.clone(), capitalised),
            });
        } else {
            why.clear();
        }
        fresh = false;
    }
    out
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_features_are_those_above_an_option() {
        let text = "# About\n# this.\n\n## disks | no disk\n\n# Why.\nCONFIG_A=y|m\nCONFIG_B=\"x\"\n\
                    # Recommended: it is\n# nicer.\nCONFIG_C=n\n\nCONFIG_D=64\n";
        assert_eq!(about(text), "About this.");
        let rule = |option, wanted, level, why: &str| Rule {
            option,
            wanted,
            level,
            feature: "disks",
            breaks: "no disk",
            why: why.into(),
        };
        assert_eq!(
            rules(text),
            [
                rule("CONFIG_A", "y|m", Level::Required, "Why."),
                rule("CONFIG_B", "\"x\"", Level::Required, "Why."),
                rule("CONFIG_C", "n", Level::Recommended, "It is nicer."),
                rule("CONFIG_D", "64", Level::Required, ""),
            ]
        );
    }
}
