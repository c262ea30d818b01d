//! The diff as Markdown, for a release announcement: what somebody must look at first, then section by
//! section; where nothing changed, nothing is said.

use std::fmt::Write as _;

use super::{AccountChanges, Diff, PackageChange, PackageName, PartitionChange, UnitChanges};
use crate::release::facts::Privileged;
use crate::report::human_size;

/// Longest list; the JSON has the whole.
const MOST: usize = 30;

impl Diff {
    /// The diff as Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut page = Page(String::new());
        let (from, to) = (&self.from.version, &self.to.version);
        page.line(&format!("# {} {to} ({})", self.id, self.arch));
        page.paragraph(&format!("Changes since {from}."));
        let head = page.0.len();
        self.attention(&mut page);
        self.packages(&mut page);
        self.kernel(&mut page);
        page.section("Command line", |page| {
            page.list("Added", self.cmdline.added.iter().map(|word| code(word)));
            page.list(
                "Removed",
                self.cmdline.removed.iter().map(|word| code(word)),
            );
        });
        page.section("Units", |page| units(&self.units, page));
        page.section("Users and groups", |page| {
            accounts("user", &self.users, page);
            accounts("group", &self.groups, page);
        });
        self.files(&mut page);
        self.sizes(&mut page);
        if page.0.len() == head {
            page.paragraph("The same packages, settings and files.");
        }
        page.line("");
        page.line(&format!("Root hash of `/usr`: `{}`", self.to.root_hash));
        page.0
    }

    /// What raises rights, or asks for care on nodes that have the older release.
    fn attention(&self, page: &mut Page) {
        page.section("Look at this first", |page| {
            let rights = &self.privileged;
            for file in &rights.added {
                page.item(&format!("**New privileges:** {}", rights_of(file)));
            }
            for (before, now) in &rights.changed {
                let (from, to) = (mode_of(before), mode_of(now));
                page.item(&format!(
                    "**Other privileges:** {}, {from} → {to}",
                    code(&now.path)
                ));
            }
            for file in &rights.removed {
                page.item(&format!("Privileges gone: {}", rights_of(file)));
            }
            for (kind, changes) in [("user", &self.users), ("group", &self.groups)] {
                for (name, (from, to)) in &changes.moved {
                    page.item(&format!(
                        "**Moved {kind}:** {} has number {to}, and had {from}: what it owns on \
                         nodes' disks stays with {from}",
                        code(name)
                    ));
                }
            }
            if !self.layout.is_empty() {
                page.item(
                    "**Other partitions:** new disks differ from those of nodes, which keep what \
                     they were installed with",
                );
                for change in &self.layout {
                    page.line(&format!("  - {}", partition(change)));
                }
            }
        });
    }

    fn packages(&self, page: &mut Page) {
        let packages = &self.packages;
        page.section("Packages", |page| {
            let row = |change: &PackageChange| {
                let others = match change.packages.as_slice() {
                    [one] if *one == change.source => String::new(),
                    names => format!(" ({})", names.join(", ")),
                };
                format!("{} {} → {}{others}", change.source, change.from, change.to)
            };
            let named = |package: &PackageName| {
                let size = human_size(package.bytes);
                format!("{} {} ({size})", package.name, package.version)
            };
            page.items("**Downgraded**", packages.downgraded.iter().map(row));
            page.items("Upgraded", packages.upgraded.iter().map(row));
            page.items("Added", packages.added.iter().map(named));
            page.items("Removed", packages.removed.iter().map(named));
        });
    }

    fn kernel(&self, page: &mut Page) {
        page.section("Kernel", |page| {
            if let Some((from, to)) = &self.kernel.version {
                page.item(&format!("{from} → {to}"));
            }
            let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "n".into());
            let options = self.kernel.options.iter().map(|(name, (from, to))| {
                code(&format!("{name}: {} → {}", shown(from), shown(to)))
            });
            page.list("Options", options);
            let files = &self.files;
            let plain = |names: &[String]| names.iter().map(|name| code(name)).collect::<Vec<_>>();
            page.list("New modules", plain(&files.modules_added).into_iter());
            page.list("Modules gone", plain(&files.modules_removed).into_iter());
        });
    }

    fn files(&self, page: &mut Page) {
        let files = &self.files;
        page.section("Files", |page| {
            let counts: Vec<_> = [
                (files.added, "new"),
                (files.removed, "gone"),
                (files.changed, "changed"),
            ]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
            if !counts.is_empty() {
                page.item(&format!("Of `/usr`: {}", counts.join(", ")));
            }
            for (title, list) in [
                ("New programs", &files.programs_added),
                ("Programs gone", &files.programs_removed),
                ("New defaults in `/etc`", &files.etc_added),
                ("Changed defaults in `/etc`", &files.etc_changed),
                ("Defaults gone from `/etc`", &files.etc_removed),
                ("Of the profile", &files.profile),
            ] {
                page.list(title, list.iter().map(|path| code(path)));
            }
            let permissions = files
                .permissions
                .iter()
                .map(|change| format!("{}: {} → {}", code(&change.path), change.from, change.to));
            page.list("Other type, mode or owner", permissions);
        });
    }

    fn sizes(&self, page: &mut Page) {
        page.section("Sizes", |page| {
            let resized = self.packages.resized.iter();
            let resized =
                resized.map(|size| format!("{} {}", size.what, signed(size.from, size.to)));
            page.list("Packages", resized);
            if self.sizes.is_empty() {
                return;
            }
            if !self.packages.resized.is_empty() {
                page.line("");
            }
            page.line("| | before | now | change |");
            page.line("|---|--:|--:|--:|");
            for size in &self.sizes {
                let what = match size.what.as_str() {
                    "usr" => "`/usr`",
                    "usr-verity" => "its hashes",
                    "uki" => "UKI",
                    "kernel" => "kernel in the UKI",
                    "initrd" => "initrd in the UKI",
                    "files" => "files of `/usr`, not compressed",
                    other => other,
                };
                let (from, to) = (size.from, size.to);
                page.line(&format!(
                    "| {what} | {} | {} | {} |",
                    human_size(from),
                    human_size(to),
                    signed(from, to)
                ));
            }
        });
    }
}

fn units(units: &UnitChanges, page: &mut Page) {
    for (title, names) in [
        ("New and enabled", &units.added_enabled),
        ("Enabled now", &units.enabled),
        ("Disabled now", &units.disabled),
        ("Masked now", &units.masked),
        ("Not masked any more", &units.unmasked),
        ("New, not enabled", &units.added),
        ("Gone", &units.removed),
        ("Changed", &units.changed),
    ] {
        page.list(title, names.iter().map(|name| code(name)));
    }
}

fn accounts(kind: &str, changes: &AccountChanges, page: &mut Page) {
    let shown = |(name, number): (&String, &u32)| format!("{} ({number})", code(name));
    page.list(&format!("New {kind}s"), changes.added.iter().map(shown));
    page.list(&format!("Gone {kind}s"), changes.removed.iter().map(shown));
    let moved = changes.moved.iter();
    page.list(
        &format!("Moved {kind}s"),
        moved.map(|(name, (from, to))| format!("{} {from} → {to}", code(name))),
    );
    for (name, details) in &changes.changed {
        let details = details.join(", ");
        page.item(&format!("{kind} {}: {details}", code(name)));
    }
}

fn mode_of(file: &Privileged) -> String {
    let mut out = format!("{} {}", file.mode, file.owner);
    if let Some(capabilities) = &file.capabilities {
        out.push(' ');
        out.push_str(capabilities);
    }
    out
}

fn rights_of(file: &Privileged) -> String {
    format!(
        "{}, {}, from {}",
        code(&file.path),
        mode_of(file),
        file.from
    )
}

fn partition(change: &PartitionChange) -> String {
    let place = |place: Option<(u64, u64)>| match place {
        Some((offset, size)) => format!("{} at {}", human_size(size), human_size(offset)),
        None => "none".into(),
    };
    format!(
        "{}: {} → {}",
        change.role,
        place(change.from),
        place(change.to)
    )
}

/// The difference with its sign, and in percent of what was there.
fn signed(from: u64, to: u64) -> String {
    let (sign, difference) = if to < from {
        ('−', from - to)
    } else {
        ('+', to - from)
    };
    let size = human_size(difference);
    if from == 0 {
        return format!("{sign}{size}");
    }
    let percent = difference as f64 * 100.0 / from as f64;
    if percent < 0.05 {
        return format!("{sign}{size}");
    }
    format!("{sign}{size} ({sign}{percent:.1} %)")
}

/// `text` as code. None of our texts has control characters; a backtick would end the code.
fn code(text: &str) -> String {
    if text.contains('`') {
        format!("`` {text} ``")
    } else {
        format!("`{text}`")
    }
}

struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn paragraph(&mut self, text: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "\n{text}");
    }

    /// A section, unless it stays empty.
    fn section(&mut self, title: &str, fill: impl FnOnce(&mut Self)) {
        let start = self.0.len();
        let _ = write!(self.0, "\n## {title}\n\n");
        let empty = self.0.len();
        fill(self);
        if self.0.len() == empty {
            self.0.truncate(start);
        }
    }

    fn item(&mut self, text: &str) {
        self.line(&format!("- {text}"));
    }

    /// One item with short things after each other.
    fn list(&mut self, title: &str, items: impl ExactSizeIterator<Item = String>) {
        let count = items.len();
        if count == 0 {
            return;
        }
        let shown: Vec<_> = items.take(MOST).collect();
        let mut text = format!("{title}: {}", shown.join(", "));
        if count > MOST {
            let _ = write!(text, " and {} more", count - MOST);
        }
        self.item(&text);
    }

    /// One item with an item below it for each thing.
    fn items(&mut self, title: &str, items: impl ExactSizeIterator<Item = String>) {
        let count = items.len();
        if count == 0 {
            return;
        }
        self.item(&format!("{title} ({count})"));
        for item in items {
            self.line(&format!("  - {item}"));
        }
    }
}
