//! `cargo xtask bench`: hullwright side by side with the tools that people use today.
//!
//! Each section is a file that gives tables and findings. Whatever is compared runs in turns, in one
//! go, on the same content; see docs/benchmarks.md.

mod arguments;
mod build;
mod erofs;
mod machine;
mod measure;
mod mkosi;
mod read;
mod setup;
mod site;
mod stages;
mod table;
mod verity;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use arguments::{Options, Request};
use setup::Bench;
use table::Section;

const DOCUMENT: &str = "docs/benchmarks.md";

/// Runs what `words` ask for.
pub fn run(words: &[&str]) -> Result<()> {
    let groups: Vec<String> = erofs::groups()
        .map(|group| format!("erofs/{}", group.name()))
        .collect();
    match arguments::parse(words, &groups)? {
        Request::Help => print!("{}", arguments::HELP),
        Request::List => {
            for (name, what) in arguments::SECTIONS {
                println!("{name:<24} {what}");
                let prefix = format!("{name}/");
                for group in groups.iter().filter(|group| group.starts_with(&prefix)) {
                    let asked = erofs::groups()
                        .any(|known| known.on_demand && group.ends_with(&known.name()));
                    println!("{group}{}", if asked { "  (only when named)" } else { "" });
                }
            }
        }
        Request::Measure(options) => measure(options)?,
    }
    Ok(())
}

fn measure(options: Options) -> Result<()> {
    let machine = machine::describe(options.dev)?;
    let bench = Bench::prepare(options)?;
    let mut sections = Vec::new();
    for (name, title) in arguments::SECTIONS {
        if !bench.options.wants(name) {
            continue;
        }
        eprintln!("== {name}: {title}");
        let mut section = match *name {
            "erofs" => erofs::measure(&bench),
            "read" => read::measure(&bench),
            "verity" => verity::measure(&bench),
            "build" => build::measure(&bench),
            _ => stages::measure(&bench),
        }
        .with_context(|| format!("measuring {name}"))?;
        (section.name, section.title) = (name, title);
        section.method.push(format!(
            "{machine}; runs of each, in turns: {}; load average before the first: {}.",
            bench.options.runs, bench.load
        ));
        sections.push(section);
        // What has been measured is kept, even if a later section fails.
        write(&bench.options.output, &document(&sections))?;
    }
    bench.clean()?;
    let text = document(&sections);
    if bench.options.json {
        let all: Vec<_> = sections.iter().map(Section::json).collect();
        println!("{}", json!({"machine": machine, "sections": all}));
    } else {
        print!("{text}");
    }
    if bench.options.write_docs {
        let mut document = fs::read_to_string(DOCUMENT).context("reading docs/benchmarks.md")?;
        for section in &sections {
            document =
                table::fill(&document, section.name, &section.markdown()).with_context(|| {
                    format!(
                        "{DOCUMENT} has no markers `<!-- bench:{} -->`",
                        section.name
                    )
                })?;
        }
        write(Path::new(DOCUMENT), &document)?;
    }
    eprintln!("written to {}", bench.options.output.display());
    let failures: Vec<String> = sections.iter().flat_map(Section::failures).collect();
    if !failures.is_empty() {
        bail!("some cases failed:\n  {}", failures.join("\n  "));
    }
    Ok(())
}

fn document(sections: &[Section]) -> String {
    let parts: Vec<String> = sections
        .iter()
        .map(|section| format!("## {}\n\n{}", capital(section.title), section.markdown()))
        .collect();
    parts.join("\n")
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_a_place_for_every_section() {
        let document = include_str!("../../../docs/benchmarks.md");
        for (name, _) in arguments::SECTIONS {
            assert!(table::fill(document, name, "table").is_some(), "{name}");
        }
    }
}
