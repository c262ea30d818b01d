//! Sizes as a treemap: one file of HTML that needs nothing else.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::{Lines, Maker, Sizes};
use crate::profile::Line;

/// The page; its marks are replaced by title and data.
const PAGE: &str = include_str!("treemap.html");
const TITLE: &str = "@TITLE@";
const DATA: &str = "@DATA@";

/// The page for an image called `title`.
///
/// # Errors
/// The data can't be written as JSON.
pub fn page(title: &str, sizes: &Sizes, lines: &Lines) -> Result<String> {
    let part = |part: &super::Part| json!([part.name, part.bytes]);
    let files = sizes.files.iter().filter(|file| file.stored() > 0);
    let data = json!({
        "makers": sizes.makers.iter().map(|maker| chain(maker, lines)).collect::<Vec<_>>(),
        "files": files
            .map(|file| json!([file.path, file.maker, file.installed, file.stored()]))
            .collect::<Vec<_>>(),
        "rest": sizes.rest.iter().map(part).collect::<Vec<_>>(),
        "uki": sizes.uki.iter().map(part).collect::<Vec<_>>(),
        "initrd": sizes.initrd.iter().map(part).collect::<Vec<_>>(),
        "ukiName": sizes.uki_name,
    });
    // `</script>` in a name would end the data early (HTML, "Restrictions for contents of script
    // elements").
    let data = serde_json::to_string(&data)
        .context("writing the data of the treemap")?
        .replace('<', "\\u003c");
    Ok(PAGE.replace(TITLE, &escaped(title)).replace(DATA, &data))
}

/// Every file as a program reads it.
#[must_use]
pub fn files(sizes: &Sizes) -> Vec<Value> {
    sizes
        .files
        .iter()
        .map(|file| {
            let (kind, name) = match sizes.maker(file) {
                Some(Maker::Package(name)) => ("package", name.as_str()),
                Some(Maker::Overlay(path)) => ("overlay", path.as_str()),
                Some(Maker::Generated(by)) => ("generated", by.as_str()),
                None => ("generated", ""),
            };
            json!({
                "path": file.path,
                kind: name,
                "installed": file.installed,
                "stored": file.stored(),
            })
        })
        .collect()
}

/// What leads to a maker, outermost first: the line of the profile, then the packages between.
fn chain(maker: &Maker, lines: &Lines) -> Vec<String> {
    let place = |line: &Line| format!("{} ({})", line.value, line.place);
    match maker {
        Maker::Package(name) => {
            let packages = lines.chain(name);
            let line = packages.first().and_then(|first| lines.line(first));
            let first = line.map_or_else(|| "the profile".to_owned(), place);
            let mut chain = vec![first];
            chain.extend(packages.iter().map(|name| (*name).to_owned()));
            if packages.is_empty() {
                chain.push(name.clone());
            }
            chain
        }
        Maker::Overlay(path) => {
            let line = lines.overlay(path).map(place);
            vec!["root.overlay".into(), line.unwrap_or_else(|| path.clone())]
        }
        Maker::Generated(by) => vec!["made by hullwright".into(), by.clone()],
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erofs::Account;
    use crate::tree::Tree;

    #[test]
    fn names_cannot_break_out_of_the_page_and_nothing_is_loaded_from_elsewhere() {
        let mut sizes = Sizes::of_usr(&Tree::new(), &Account::default());
        sizes.uki_name = "</script><b>".into();
        let page = page("a <b> & c", &sizes, &Lines::default()).unwrap();
        assert!(page.contains("a &lt;b> &amp; c"));
        assert!(page.contains("\\u003c/script>"));
        assert_eq!(
            page.matches("</script>").count(),
            PAGE.matches("</script>").count()
        );
        for foreign in ["http:", "https:", "src=", "@import", "url("] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        assert!(!page.contains(TITLE) && !page.contains(DATA));
    }
}
