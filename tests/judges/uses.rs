//! Which file of an image uses which, told by everybody but the audit: ld.so lists what it loads, systemd
//! what units start and need, PAM's stacks are grepped, and scripts have a first line.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use crate::image::Inside;
use crate::support::{good, tool, trixie_tool};

/// Users of a file, by their paths in the image.
pub type Users = BTreeSet<String>;

/// The unit that a boot starts, with everything that it needs.
const FIRST: &str = "default.target";

/// Lines of systemd's dump of a unit that name another one without which something fails.
const NEEDS: [&str; 7] = [
    "Requires: ",
    "Requisite: ",
    "BindsTo: ",
    "Upholds: ",
    "Wants: ",
    "OnFailure: ",
    "Triggers: ",
];

/// An image, unpacked inside the trixie tree with the links and the `/etc` that the running system has.
struct Unpacked {
    inside: Inside,
    used: BTreeMap<String, Users>,
}

/// Every file that another one uses, with those that do.
pub fn uses(usr: &Path) -> BTreeMap<String, Users> {
    let mut image = Unpacked::new(usr);
    let files = image.files();
    image.loaded(&files);
    image.scripts(&files);
    image.units();
    image.stacks();
    image.used
}

impl Unpacked {
    fn new(usr: &Path) -> Self {
        let inside = Inside::new("judges-uses");
        let image = inside.0.join("usr.erofs");
        fs::copy(usr, &image).unwrap();
        let mut fsck = trixie_tool("fsck.erofs");
        fsck.arg("--preserve")
            .arg(format!("--extract={}/usr", inside.1));
        good(fsck.arg(format!("{}/usr.erofs", inside.1)));
        fs::remove_file(image).unwrap();
        for name in ["bin", "lib", "lib64", "sbin"] {
            symlink(format!("usr/{name}"), inside.0.join(name)).unwrap();
        }
        let etc = inside.0.join("usr/share/factory/etc");
        good(tool("cp").arg("-a").args([etc, inside.0.join("etc")]));
        Self {
            inside,
            used: BTreeMap::new(),
        }
    }

    /// Where the host has what the image has at `path`.
    fn host(&self, path: &str) -> PathBuf {
        self.inside.0.join(path.trim_start_matches('/'))
    }

    /// Regular files but those of the kernel, whose modules are no programs.
    fn files(&self) -> Vec<String> {
        let mut find = tool("find");
        find.current_dir(&self.inside.0).args([
            "usr",
            "-type",
            "f",
            "-not",
            "-path",
            "usr/lib/modules/*",
        ]);
        let text = good(&mut find);
        text.lines().map(|line| format!("/{line}")).collect()
    }

    fn begin(&self, path: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let file = File::open(self.host(path)).unwrap();
        file.take(256).read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// `user` does not work without what lies at `path`: neither without the file, nor without a link on
    /// the way there. Returns whether there is something.
    fn uses(&mut self, user: &str, path: &str) -> bool {
        let mut path = path.to_owned();
        loop {
            let host = self.host(&path);
            let (Some(dir), Some(name)) = (host.parent(), host.file_name()) else {
                return false;
            };
            let Ok(dir) = dir.canonicalize() else {
                return false;
            };
            let Ok(below) = dir.strip_prefix(&self.inside.0) else {
                return false;
            };
            let at = format!("/{}", below.join(name).display());
            let Ok(data) = fs::symlink_metadata(self.host(&at)) else {
                return false;
            };
            self.used.entry(at.clone()).or_default().insert(user.into());
            if !data.is_symlink() {
                return true;
            }
            let target = fs::read_link(self.host(&at)).unwrap();
            let target = target.to_str().unwrap();
            path = match target.strip_prefix('/') {
                Some(_) => target.to_owned(),
                None => format!("/{}/{target}", below.display()),
            };
        }
    }

    /// Libraries and the loader: those that ld.so maps for each program and each library.
    fn loaded(&mut self, files: &[String]) {
        let elves = files.iter().filter(|path| {
            let begin = self.begin(path);
            begin.starts_with(b"\x7fELF") && !path.ends_with(".o")
        });
        let script =
            "for f; do echo \"file $f\"; /lib64/ld-linux-x86-64.so.2 --list \"$f\"; done 2>&1";
        let mut list = tool("chroot");
        list.env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        list.arg(&self.inside.0)
            .args(["/bin/sh", "-c", script, "sh"])
            .args(elves);
        // The last file's status is the shell's.
        let output = list.output().unwrap();
        let mut user = String::new();
        let mut count = 0;
        for line in String::from_utf8(output.stdout).unwrap().lines() {
            if let Some(path) = line.strip_prefix("file ") {
                user = path.into();
                continue;
            }
            // `NAME => PATH (ADDRESS)`, or `PATH (ADDRESS)`.
            let Some((path, _)) = line.trim().rsplit_once(" (0x") else {
                continue;
            };
            let path = path.rsplit(" => ").next().unwrap();
            if path.starts_with('/') {
                count += usize::from(self.uses(&user.clone(), path));
            }
        }
        assert!(count > 1000, "{count} libraries loaded");
    }

    /// What runs executable scripts, also by way of env(1).
    fn scripts(&mut self, files: &[String]) {
        let mut count = 0;
        for path in files {
            let mode = fs::metadata(self.host(path)).unwrap().permissions().mode();
            let begin = self.begin(path);
            let Some(line) = begin.strip_prefix(b"#!").filter(|_| mode & 0o111 != 0) else {
                continue;
            };
            let line = String::from_utf8_lossy(line.split(|&b| b == b'\n').next().unwrap());
            let words: Vec<&str> = line.split_whitespace().collect();
            count += usize::from(self.uses(path, words[0]));
            if let ["/usr/bin/env", name, ..] = words[..] {
                count += usize::from(self.uses(path, &format!("/usr/bin/{name}")));
            }
        }
        assert!(count > 20, "{count} interpreters of scripts");
    }

    /// Units that the system starts with, the units that these need, and their programs.
    fn units(&mut self) {
        let root = self.inside.1.clone();
        // Name to fragment, as far as known; units of the kernel's making have none.
        let mut fragments: BTreeMap<String, Option<String>> = BTreeMap::new();
        let mut needs = Vec::new();
        let mut aliases = Vec::new();
        let mut todo = BTreeSet::from([FIRST.to_owned()]);
        while !todo.is_empty() {
            let mut verify = trixie_tool("systemd-analyze");
            verify.env("SYSTEMD_LOG_LEVEL", "debug");
            verify.args(["verify", "--man=no", &format!("--root={root}"), "--"]);
            // Its status is that of all units, and some are mounts that only the kernel knows.
            let dump = verify.args(&todo).output().unwrap().stdout;
            fragments.extend(todo.iter().map(|name| (name.clone(), None)));
            let mut unit = String::new();
            for line in String::from_utf8_lossy(&dump).lines().map(str::trim) {
                if let Some(name) = line.strip_prefix("→ Unit ") {
                    unit = name.trim_end_matches(':').into();
                } else if let Some(name) = line.strip_prefix("Alias: ") {
                    aliases.push((name.to_owned(), unit.clone()));
                } else if let Some(path) = line.strip_prefix("Fragment Path: ") {
                    let path = path.strip_prefix(&root).unwrap_or(path).to_owned();
                    fragments.insert(unit.clone(), Some(path));
                } else if let Some(rest) = NEEDS.iter().find_map(|key| line.strip_prefix(key)) {
                    // What systemd adds to every unit by itself, nobody has asked for; and a slice
                    // needs no file (systemd.slice(5)).
                    let (name, origin) = rest.split_once(" (").unwrap();
                    if name.ends_with(".slice") {
                        continue;
                    }
                    if origin.contains("origin-file") || line.starts_with("Triggers") {
                        needs.push((unit.clone(), name.to_owned()));
                    }
                }
            }
            todo = needs
                .iter()
                .map(|(_, name)| name.clone())
                .filter(|name| !fragments.contains_key(name))
                .collect();
        }
        for (name, unit) in aliases {
            if let Some(path) = fragments.get(&unit).cloned() {
                fragments.insert(name, path);
            }
        }
        let mut count = 0;
        for (user, name) in &needs {
            if let (Some(Some(user)), Some(Some(path))) = (fragments.get(user), fragments.get(name))
            {
                count += usize::from(self.uses(user, path));
            }
        }
        assert!(count > 100, "{count} units that others need");
        let known: BTreeMap<&String, &String> = fragments
            .iter()
            .filter_map(|(name, path)| Some((name, path.as_ref()?)))
            .collect();
        self.programs(&known);
    }

    /// Programs without which systemd finds fault with a unit: it is shown the units alone.
    fn programs(&mut self, units: &BTreeMap<&String, &String>) {
        let bare = Inside::new("judges-uses-bare");
        for folder in ["usr/lib/systemd", "etc/systemd"] {
            fs::create_dir_all(bare.0.join(folder)).unwrap();
            let from = self.host(folder).join("system");
            let mut copy = tool("cp");
            good(copy.arg("-a").args([from, bare.0.join(folder)]));
        }
        let mut verify = trixie_tool("systemd-analyze");
        verify.args(["verify", "--man=no", &format!("--root={}", bare.1), "--"]);
        let said = verify.args(units.keys()).output().unwrap().stderr;
        let mut count = 0;
        for line in String::from_utf8_lossy(&said).lines() {
            let Some((unit, rest)) = line.split_once(": Command ") else {
                continue;
            };
            let Some((program, _)) = rest.split_once(" is not executable") else {
                continue;
            };
            let Some(user) = units.get(&unit.to_owned()) else {
                continue;
            };
            let places = match program.starts_with('/') {
                true => vec![program.to_owned()],
                false => vec![
                    format!("/usr/sbin/{program}"),
                    format!("/usr/bin/{program}"),
                ],
            };
            count += usize::from(places.iter().any(|path| self.uses(user, path)));
        }
        assert!(count > 30, "{count} programs of units");
    }

    /// Modules that PAM stacks name, unless a `-` says that they may be missing.
    fn stacks(&mut self) {
        let mut grep = tool("grep");
        grep.current_dir(&self.inside.0);
        grep.args(["-rEo", "^[^#-].*pam_[a-z0-9_]+\\.so"]);
        let folders = ["usr/share/factory/etc/pam.d", "usr/lib/pam.d"];
        let folders = folders.iter().filter(|at| self.host(at).is_dir());
        let mut count = 0;
        for line in good(grep.args(folders)).lines() {
            let (file, rule) = line.split_once(':').unwrap();
            let module = rule.split_whitespace().last().unwrap();
            let at = format!("/usr/lib/x86_64-linux-gnu/security/{module}");
            count += usize::from(self.uses(&format!("/{file}"), &at));
        }
        assert!(count > 20, "{count} modules of PAM stacks");
    }
}
