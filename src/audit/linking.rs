//! What ld.so loads for each program of the image, and what it looks for in vain.
//!
//! A library may be found by one program and not by another: `DT_RPATH` is inherited from whoever loads,
//! and what is loaded already is not looked for again. So that every program is linked as ld.so(8) does
//! it, breadth first; and then each library that none of them loads, as plugins are.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use super::Subject;
use super::files::Files;
use crate::elf::{self, Dlopen, Elf};
use crate::tree::TreePath;

/// A library that is looked for in vain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Absent {
    /// The program in which that is so, where it is not the file itself that needs the library.
    pub program: Option<TreePath>,
    /// A file of that name which is none for this machine.
    pub wrong: Option<TreePath>,
}

/// A file, and the name of a library as it has it.
type Need = (TreePath, String);

/// Who is linked with what.
#[derive(Debug, Default)]
pub struct Linking {
    /// What is missing.
    pub absent: BTreeMap<Need, Absent>,
    /// What is there: the files that the library turns out to be, in one program and another.
    pub found: BTreeMap<Need, BTreeSet<TreePath>>,
    /// Notes of libraries that a file opens by itself, of which the image has none.
    pub unopened: Vec<(TreePath, Dlopen)>,
}

impl Linking {
    /// That of an image.
    ///
    /// # Errors
    /// Content that does not decompress.
    pub fn of<'a>(subject: &'a Subject<'_>) -> Result<&'a Self> {
        let make = || Ok(Linker::new(subject, Files::of(subject)?).link());
        subject.shared.linking.get(make)
    }
}

/// ld.so, for one image.
struct Linker<'a> {
    subject: &'a Subject<'a>,
    objects: Vec<Object<'a>>,
    numbers: BTreeMap<&'a TreePath, usize>,
    /// Directories that are searched last.
    last: Vec<String>,
    /// What lies in a directory under a name.
    looked_up: RefCell<BTreeMap<(String, &'a str), Option<Place>>>,
}

/// An ELF file for this machine, with its own search paths.
struct Object<'a> {
    path: &'a TreePath,
    elf: &'a Elf,
    rpath: Vec<String>,
    runpath: Vec<String>,
}

/// What is found under the name of a library.
#[derive(Debug, Clone)]
enum Place {
    Library(usize),
    /// No library for this machine: ld.so looks further.
    Wrong(TreePath),
}

/// A file that is loaded into a program.
#[derive(Debug, Clone, Copy)]
struct Loaded {
    object: usize,
    /// Who had it loaded, by its place in the list.
    loader: Option<usize>,
}

impl<'a> Linker<'a> {
    fn new(subject: &'a Subject<'a>, files: &'a Files) -> Self {
        let arch = subject.profile.arch;
        let machine = arch.traits().elf_machine;
        let objects: Vec<Object<'_>> = files
            .elves()
            .filter(|(_, elf)| elf.machine == machine)
            .map(|(path, elf)| {
                let at = path.to_string();
                let directories = |list| elf::directories(list, &at, arch);
                Object {
                    path,
                    elf,
                    rpath: directories(&elf.rpath),
                    runpath: directories(&elf.runpath),
                }
            })
            .collect();
        Self {
            subject,
            numbers: (0..).zip(&objects).map(|(n, o)| (o.path, n)).collect(),
            objects,
            last: elf::last_directories(arch).into(),
            looked_up: RefCell::default(),
        }
    }

    fn link(&self) -> Linking {
        let mut out = Linking::default();
        let mut seen = BTreeSet::new();
        for (number, object) in self.objects.iter().enumerate() {
            if object.elf.interpreter.is_some() {
                self.load(number, &mut seen, None, &mut out);
            }
        }
        // Names that some program has: a plugin's may be there before the plugin is.
        let by_programs: BTreeSet<&str> = seen.iter().flat_map(|&n| self.names(n)).collect();
        for number in 0..self.objects.len() {
            if !seen.contains(&number) {
                self.load(number, &mut BTreeSet::new(), Some(&by_programs), &mut out);
            }
        }
        for (number, object) in self.objects.iter().enumerate() {
            let alone = [Loaded {
                object: number,
                loader: None,
            }];
            for note in &object.elf.dlopen {
                let found = note.soname.iter().any(|name| {
                    by_programs.contains(name.as_str()) || self.find(name, 0, &alone).is_ok()
                });
                if !found {
                    out.unopened.push((object.path.clone(), note.clone()));
                }
            }
        }
        out
    }

    /// Loads the file `root` with everything it needs, and adds to `seen` what that is.
    fn load(
        &self,
        root: usize,
        seen: &mut BTreeSet<usize>,
        by_programs: Option<&BTreeSet<&str>>,
        out: &mut Linking,
    ) {
        let mut loaded = vec![Loaded {
            object: root,
            loader: None,
        }];
        let mut names: BTreeMap<&str, usize> = BTreeMap::new();
        names.extend(self.names(root).map(|name| (name, root)));
        let mut at = 0;
        while let Some(&Loaded { object: by, .. }) = loaded.get(at) {
            seen.insert(by);
            let Some(object) = self.objects.get(by) else {
                break;
            };
            for name in &object.elf.needed {
                let found = match names.get(name.as_str()) {
                    Some(&number) => Ok(number),
                    None => self.find(name, at, &loaded),
                };
                match found {
                    Ok(number) => {
                        names.insert(name, number);
                        if !loaded.iter().any(|one| one.object == number) {
                            names.extend(self.names(number).map(|name| (name, number)));
                            loaded.push(Loaded {
                                object: number,
                                loader: Some(at),
                            });
                        }
                        if let Some(found) = self.objects.get(number) {
                            let key = (object.path.clone(), name.clone());
                            out.found.entry(key).or_default().insert(found.path.clone());
                        }
                    }
                    Err(_) if by_programs.is_some_and(|names| names.contains(name.as_str())) => {}
                    Err(wrong) => {
                        let program = self.objects.get(root).filter(|_| root != by);
                        out.absent
                            .entry((object.path.clone(), name.clone()))
                            .or_insert_with(|| Absent {
                                program: program.map(|program| program.path.clone()),
                                wrong,
                            });
                    }
                }
            }
            at += 1;
        }
    }

    /// The names by which others ask for a file once it is loaded.
    fn names(&self, object: usize) -> impl Iterator<Item = &'a str> + use<'a> {
        let object = self.objects.get(object);
        let soname = object.and_then(|object| object.elf.soname.as_deref());
        soname.into_iter()
    }

    /// Looks for `name` on behalf of the file at `at` of `loaded`; an error has what lies under that name
    /// without being a library for this machine.
    fn find(&self, name: &'a str, at: usize, loaded: &[Loaded]) -> Result<usize, Option<TreePath>> {
        if name.contains('/') {
            return match self.place(name) {
                Some(Place::Library(number)) => Ok(number),
                Some(Place::Wrong(path)) => Err(Some(path)),
                None => Err(None),
            };
        }
        let mut chain = Vec::new();
        let mut next = Some(at);
        while let Some(one) = next.and_then(|at| loaded.get(at)) {
            chain.extend(self.objects.get(one.object));
            next = one.loader;
        }
        let own = chain.first();
        // Whoever has a DT_RUNPATH does not inherit.
        let inherited = chain
            .iter()
            .take_while(|_| own.is_some_and(|own| own.runpath.is_empty()))
            .flat_map(|object| &object.rpath);
        let own = own.into_iter().flat_map(|own| &own.runpath);
        let mut wrong = None;
        for directory in inherited.chain(own).chain(&self.last) {
            match self.look_up(directory, name) {
                Some(Place::Library(number)) => return Ok(number),
                Some(Place::Wrong(path)) => wrong = wrong.or(Some(path)),
                None => {}
            }
        }
        Err(wrong)
    }

    fn look_up(&self, directory: &str, name: &'a str) -> Option<Place> {
        let mut known = self.looked_up.borrow_mut();
        let place = known.entry((directory.to_owned(), name));
        let place = place.or_insert_with(|| self.place(&format!("{directory}/{name}")));
        place.clone()
    }

    fn place(&self, at: &str) -> Option<Place> {
        let (path, node) = self.subject.find(at)?;
        node.content()?;
        Some(match self.numbers.get(&path) {
            Some(&number) => Place::Library(number),
            None => Place::Wrong(path),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{Elf, Image, link};

    const LIBS: &str = "usr/lib/x86_64-linux-gnu";

    fn absent(image: &Image) -> Vec<String> {
        let subject = image.subject();
        let linking = Linking::of(&subject).unwrap();
        let shown = linking.absent.iter().map(|((by, name), absent)| {
            let program = absent.program.as_ref();
            let program = program.map_or(String::new(), |program| format!(" in {program}"));
            format!("{by} {name}{program}")
        });
        shown.collect()
    }

    #[test]
    fn a_search_path_of_old_is_inherited_and_one_of_new_is_not() {
        let image = |tag: fn(Elf, &str) -> Elf| {
            Image::new(&[])
                .with(
                    "usr/bin/tool",
                    tag(Elf::program().needs("libone.so"), "$ORIGIN/../lib/tool").file(),
                )
                .with(
                    "usr/lib/tool/libone.so",
                    Elf::library("libone.so").needs("libtwo.so").file(),
                )
                .with("usr/lib/tool/libtwo.so", Elf::library("libtwo.so").file())
        };
        assert_eq!(absent(&image(Elf::rpath)), [""; 0]);
        assert_eq!(
            absent(&image(Elf::runpath)),
            ["/usr/lib/tool/libone.so libtwo.so in /usr/bin/tool"]
        );
    }

    #[test]
    fn what_a_program_has_loaded_is_not_looked_for() {
        let image = Image::new(&[])
            .with(
                "usr/bin/tool",
                Elf::program()
                    .runpath("/usr/lib/tool")
                    .needs("libone.so")
                    .needs("libtwo.so")
                    .file(),
            )
            .with(
                "usr/lib/tool/libone.so",
                Elf::library("libone.so").needs("libtwo.so").file(),
            )
            .with("usr/lib/tool/libtwo.so", Elf::library("libtwo.so").file())
            // The tool opens it.
            .with(
                "usr/lib/tool/plugin.so",
                Elf::library("plugin.so")
                    .needs("libtwo.so")
                    .needs("libc.so")
                    .file(),
            );
        assert_eq!(absent(&image), ["/usr/lib/tool/plugin.so libc.so"]);
    }

    #[test]
    fn libraries_are_where_the_loader_looks_by_itself() {
        let image = Image::new(&[(&format!("{LIBS}/libtext.so"), "text")])
            .with(
                "usr/bin/tool",
                Elf::program()
                    .needs("liba.so")
                    .needs("libb.so")
                    .needs("libtext.so")
                    .needs("libarm.so")
                    .file(),
            )
            .with(&format!("{LIBS}/liba.so.1"), Elf::library("liba.so").file())
            .with(&format!("{LIBS}/liba.so"), link("liba.so.1"))
            .with("usr/lib/libb.so", Elf::library("libb.so").file())
            .with(
                &format!("{LIBS}/libarm.so"),
                Elf::library("libarm.so").machine(183).file(),
            );
        assert_eq!(
            absent(&image),
            ["/usr/bin/tool libarm.so", "/usr/bin/tool libtext.so"]
        );
    }
}
