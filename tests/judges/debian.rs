//! `container-host` beside what Debian's own tools make of the same list of packages: each package that
//! they install and the image leaves out is left out by a rule.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use hullwright::profile::{LoadRequest, load};
use hullwright::resolve::Lock;
use hullwright::resolve::script_only::ScriptOnly;
use serde_json::Value;

use crate::fixture::timed;
use crate::image::Inside;
use crate::support::{exhaustive, good, repository, shipped, tool, trixie_tool};

/// What one package's paragraph in an index says.
type Fields = BTreeMap<String, String>;

/// The profile that is compared: its packages, and nothing else.
const PROFILE: &str = "extends: container-host\nos: {version: 1.0.0}\n";

/// Debian's tools in the trixie tree, with lists of their own and nothing installed.
struct Apt(Inside);

impl Apt {
    fn new() -> Self {
        let inside = Inside::new("judges-debian");
        let dir = &inside.1;
        for folder in ["lists/partial", "archives/partial"] {
            fs::create_dir_all(inside.0.join(folder)).unwrap();
        }
        fs::write(inside.0.join("status"), "").unwrap();
        fs::write(inside.0.join("sources.list"), sources()).unwrap();
        let conf = format!(
            "Dir::State \"{dir}\";\nDir::State::status \"{dir}/status\";\nDir::State::lists \"{dir}/lists\";\n\
             Dir::Cache \"{dir}\";\nDir::Etc::sourcelist \"{dir}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
             APT::Architecture \"amd64\";\nAPT::Sandbox::User \"root\";\nAcquire::Retries 3;\n"
        );
        fs::write(inside.0.join("conf"), conf).unwrap();
        let apt = Self(inside);
        apt.run("apt-get", &["update", "-qq"]);
        apt
    }

    fn run(&self, program: &str, words: &[&str]) -> String {
        let mut command = trixie_tool(program);
        command.env("APT_CONFIG", format!("{}/conf", self.0.1));
        good(command.args(words))
    }

    /// The packages that `apt-get install` would install into an empty system.
    fn resolution(&self, include: &[String], recommends: bool) -> BTreeSet<String> {
        let flag = if recommends {
            "--install-recommends"
        } else {
            "--no-install-recommends"
        };
        let include: Vec<&str> = include.iter().map(String::as_str).collect();
        let said = self.run(
            "apt-get",
            &[&["-s", flag, "install"], &include[..]].concat(),
        );
        let names = said.lines().filter_map(|line| line.strip_prefix("Inst "));
        names
            .map(|rest| rest.split_whitespace().next().unwrap().to_owned())
            .collect()
    }

    /// What the indices say of packages.
    fn show(&self, names: &BTreeSet<String>) -> BTreeMap<String, Fields> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let said = self.run(
            "apt-cache",
            &[&["show", "--no-all-versions"], &names[..]].concat(),
        );
        let packages = said.split("\n\n").filter(|text| !text.trim().is_empty());
        packages
            .map(|text| {
                let fields = text.lines().filter_map(|line| line.split_once(": "));
                let fields: Fields = fields
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect();
                (fields["Package"].clone(), fields)
            })
            .collect()
    }
}

/// The suites of the profile, from the mirrors of the host.
fn sources() -> String {
    let said = good(tool("apt-get").args([
        "indextargets",
        "--format",
        "$(REPO_URI) $(RELEASE)",
        "Identifier: Packages",
    ]));
    let uri = |security: bool| {
        let mut lines = said.lines().filter_map(|line| line.split_once(' '));
        let found = lines.find(|(uri, _)| uri.contains("debian-security") == security);
        found.map(|(uri, _)| uri.trim_end_matches('/').to_owned())
    };
    let main = uri(false).unwrap();
    let mut text = format!("deb {main} trixie main\ndeb {main} trixie-updates main\n");
    if let Some(security) = uri(true) {
        writeln!(text, "deb {security} trixie-security main").unwrap();
    }
    text
}

/// The alternatives of a relation, clause by clause, without versions and architectures.
fn clauses(field: &str) -> Vec<Vec<String>> {
    let name = |term: &str| {
        let term = term.trim().split([' ', '(', ':', '[']).next().unwrap();
        term.to_owned()
    };
    let clauses = field.split(',').filter(|clause| !clause.trim().is_empty());
    clauses
        .map(|clause| clause.split('|').map(name).collect())
        .collect()
}

/// Everything that the rules are judged by.
struct Sets<'a> {
    known: &'a BTreeMap<String, Fields>,
    ours: &'a BTreeSet<String>,
    theirs: &'a BTreeSet<String>,
    script_only: &'a ScriptOnly,
}

impl Sets<'_> {
    fn field(&self, package: &str, key: &str) -> &str {
        let fields = self.known.get(package);
        fields
            .and_then(|fields| fields.get(key))
            .map_or("", String::as_str)
    }

    /// Whether `package` answers to `name`.
    fn is(&self, package: &str, name: &str) -> bool {
        package == name
            || clauses(self.field(package, "Provides"))
                .concat()
                .iter()
                .any(|provided| provided == name)
    }

    /// The rule by which `package`, one of theirs, is none of ours.
    fn rule(&self, package: &str) -> Option<String> {
        let mut recommended = BTreeSet::new();
        let mut chosen = BTreeSet::new();
        let mut with = BTreeSet::new();
        for wanter in self.theirs.iter().filter(|wanter| *wanter != package) {
            for key in ["Pre-Depends", "Depends", "Recommends"] {
                for clause in clauses(self.field(wanter, key)) {
                    if !clause.iter().any(|name| self.is(package, name)) {
                        continue;
                    }
                    if !self.ours.contains(wanter) {
                        with.insert(wanter.as_str());
                    } else if key == "Recommends" {
                        recommended.insert(wanter.as_str());
                    } else if let Some(reason) = clause
                        .iter()
                        .find_map(|name| self.script_only.reason(name, wanter))
                    {
                        chosen.insert(format!("script-only: {reason}"));
                    } else {
                        let other = self
                            .ours
                            .iter()
                            .find(|ours| clause.iter().any(|name| self.is(ours, name)))?;
                        chosen.insert(format!("provider: `{wanter}` is content with `{other}`"));
                    }
                }
            }
        }
        // What a package of the image depends on says most.
        if let Some(reason) = chosen.first() {
            return Some(reason.clone());
        }
        let some = |names: &BTreeSet<&str>| {
            let shown: Vec<_> = names
                .iter()
                .take(2)
                .map(|name| format!("`{name}`"))
                .collect();
            let more = if names.len() > 2 { " and others" } else { "" };
            shown.join(", ") + more
        };
        if self.field(package, "Essential") == "yes" {
            return Some(
                "`Essential`: no reason by itself, and nothing of the image asks for it".into(),
            );
        }
        if !recommended.is_empty() {
            let by = some(&recommended);
            return Some(format!("`packages.recommends` is off: recommended by {by}"));
        }
        if !with.is_empty() {
            let verb = if with.len() > 1 { "are" } else { "is" };
            return Some(format!("only for {}, which {verb} left out", some(&with)));
        }
        None
    }

    /// The rules for all of theirs that are none of ours.
    fn rules(&self) -> Vec<(String, Option<String>)> {
        let missing = self.theirs.difference(self.ours);
        missing
            .map(|package| (package.clone(), self.rule(package)))
            .collect()
    }

    /// `Installed-Size` of packages, in bytes.
    fn installed(&self, packages: &BTreeSet<String>) -> u64 {
        let sizes = packages
            .iter()
            .map(|name| self.field(name, "Installed-Size"));
        sizes.map(|kib| kib.parse::<u64>().unwrap_or(0) << 10).sum()
    }
}

/// Bytes of the regular files below `dir`, each inode once.
fn bytes(dir: &Path) -> u64 {
    let mut seen = BTreeSet::new();
    let mut total = 0;
    let mut todo = vec![dir.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let data = fs::symlink_metadata(entry.path()).unwrap();
            if data.is_dir() {
                todo.push(entry.path());
            } else if data.is_file() && seen.insert(data.ino()) {
                total += data.len();
            }
        }
    }
    total
}

/// What mmdebstrap makes of the list: names of its packages, and bytes of its files.
fn mmdebstrap(include: &[String]) -> (BTreeSet<String>, u64) {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("sources.list");
    fs::write(&list, sources()).unwrap();
    let root = dir.path().join("root");
    timed("mmdebstrap", || {
        let mut command = tool("mmdebstrap");
        command
            .args(["--mode=root", "--variant=essential", "--quiet"])
            .arg(format!("--include={}", include.join(",")))
            .arg("trixie")
            .args([&root, &list]);
        good(&mut command)
    });
    let status = fs::read_to_string(root.join("var/lib/dpkg/status")).unwrap();
    let names = status
        .lines()
        .filter_map(|line| line.strip_prefix("Package: "));
    (names.map(str::to_owned).collect(), bytes(&root))
}

/// The packages that the profile asks for, by their names in Debian.
fn include(profile: &Path) -> Vec<String> {
    let loaded = load(&LoadRequest {
        reference: profile.to_str().unwrap(),
        sets: &[],
        arch: None,
    })
    .unwrap();
    let profile = &loaded.profile;
    let kernel = profile.kernel.package.replace("{arch}", "amd64");
    profile
        .packages
        .include
        .iter()
        .cloned()
        .chain([kernel])
        .collect()
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap())
        .collect();
    groups.join(" ")
}

#[test]
fn each_package_that_debian_would_install_is_left_out_by_a_rule() {
    let desk = tempfile::tempdir().unwrap();
    let profile = desk.path().join("host.yaml");
    fs::write(&profile, PROFILE).unwrap();
    let include = include(&profile);
    good(shipped(desk.path()).args(["lock", "host.yaml"]));
    let lock = Lock::load(&desk.path().join("host.x86_64.lock"))
        .unwrap()
        .unwrap();
    let ours: BTreeSet<String> = lock.packages.iter().map(|p| p.name.clone()).collect();

    let apt = Apt::new();
    let mut theirs = vec![
        (
            "`apt-get install --no-install-recommends`",
            apt.resolution(&include, false),
            None,
        ),
        ("`apt-get install`", apt.resolution(&include, true), None),
    ];
    // Installing all of it takes minutes.
    if exhaustive() {
        let (names, bytes) = mmdebstrap(&include);
        theirs.insert(0, ("`mmdebstrap --variant=essential`", names, Some(bytes)));
    }
    let all = theirs.iter().flat_map(|(_, names, _)| names).chain(&ours);
    let known = apt.show(&all.cloned().collect());
    let script_only = ScriptOnly::embedded().unwrap();
    let sets = |theirs| Sets {
        known: &known,
        ours: &ours,
        theirs,
        script_only: &script_only,
    };
    let mut rows = String::new();
    let mut lists = String::new();
    let mut told: BTreeSet<String> = BTreeSet::new();
    for (how, names, bytes) in &theirs {
        let sets = sets(names);
        let extra: Vec<_> = ours.difference(names).collect();
        assert!(extra.is_empty(), "{how} does without {extra:?}");
        let rules = sets.rules();
        let unexplained: Vec<_> = rules.iter().filter(|(_, rule)| rule.is_none()).collect();
        assert!(
            unexplained.is_empty(),
            "{how}: no rule leaves out {unexplained:?}"
        );
        println!("{how}: {} packages, {} left out", names.len(), rules.len());
        writeln!(
            rows,
            "| {how} | {} | {} | {} |",
            names.len(),
            thousands(sets.installed(names)),
            bytes.map_or_else(|| "—".into(), thousands)
        )
        .unwrap();
        let new: Vec<_> = rules
            .iter()
            .filter(|(name, _)| told.insert(name.clone()))
            .collect();
        if new.is_empty() {
            continue;
        }
        writeln!(
            lists,
            "\n### Of {how}{}: {}\n\n| Package | Installed-Size | Left out by |\n|---|---|---|",
            if told.len() > new.len() {
                ", what is not above"
            } else {
                ""
            },
            new.len()
        )
        .unwrap();
        for (name, rule) in new {
            let size = sets.installed(&BTreeSet::from([name.clone()]));
            writeln!(
                lists,
                "| `{name}` | {} | {} |",
                thousands(size),
                rule.as_ref().unwrap()
            )
            .unwrap();
        }
    }
    if std::env::var_os("HULLWRIGHT_WRITE_DOCS").is_some() {
        let said = good(shipped(desk.path()).args(["size", "host.yaml", "--json"]));
        let size: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
        let content = size["tree"][0]["installed"].as_u64().unwrap();
        let own = format!(
            "| hullwright | {} | {} | {} |\n",
            ours.len(),
            thousands(sets(&ours).installed(&ours)),
            thousands(content)
        );
        let stamp = lock.suites.iter().map(|suite| {
            let date = format!("@{}", suite.date);
            let date = good(tool("date").args(["-u", "-d", &date, "+%F"]));
            format!("{} of {}", suite.name, date.trim())
        });
        let stamp: Vec<String> = stamp.collect();
        write_document(&(own + &rows), &lists, &stamp.join(", "));
    }
}

/// Where the tables stand.
const BEGIN: &str = "<!-- compared: begin -->\n";
const END: &str = "<!-- compared: end -->\n";

fn write_document(rows: &str, lists: &str, suites: &str) {
    let path = repository().join("docs/minimal.md");
    let text = fs::read_to_string(&path).unwrap();
    let (head, rest) = text.split_once(BEGIN).unwrap();
    let (_, tail) = rest.split_once(END).unwrap();
    let table = format!(
        "From {suites}.\n\n| | Packages | Installed-Size | Bytes of files |\n|---|---|---|---|\n{rows}{lists}"
    );
    fs::write(&path, format!("{head}{BEGIN}{table}{END}{tail}")).unwrap();
}
