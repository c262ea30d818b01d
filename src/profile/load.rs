//! From a name or path to a typed profile whose every value knows where it was written.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde::Deserialize as _;
use serde_json::{Map, Value as Json};

use super::optimize::Optimize;
use super::schema::Profile;
use super::source::{Base, Origin, Problem, Source, failure};
use super::table::{PROFILE, Shape};
use super::yaml::{Entry, MOST_BYTES, Node, Value, parse};
use super::{ARGUMENT, board, embedded, merge, rules, typing};
use crate::arch::Arch;
use crate::erofs::Codec;
use crate::failure::{Failure, Kind};
use crate::words::nearest;

/// The most profiles that one profile may be made of.
const MOST_LAYERS: usize = 64;

/// What to load.
#[derive(Debug, Clone, Copy, Default)]
pub struct LoadRequest<'a> {
    /// The name of an embedded profile, or a path (with a `/` or ending in `.yaml` or `.yml`).
    pub reference: &'a str,
    /// `--set PATH=VALUE`, in order.
    pub sets: &'a [String],
    /// `--arch`.
    pub arch: Option<Arch>,
}

/// A profile with where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Merged, validated, with defaults.
    pub profile: Profile,
    /// Folder of the profile's file, empty for the working directory; `None` for an embedded profile.
    pub directory: Option<PathBuf>,
    /// The NAME of output directory and lock.
    pub stem: String,
    /// How the user names the profile, for commands in messages.
    pub reference: String,
    /// The merged tree: what was written, and where.
    pub(super) tree: Node,
    /// The texts it is made of, bases first.
    pub(super) layers: Vec<Arc<Source>>,
}

/// Loads, merges and validates a profile.
///
/// # Errors
/// [`Failure`] of kind usage for everything that is wrong with the profile, up to ten problems at
/// once; I/O errors when a file can't be read.
pub fn load(request: &LoadRequest<'_>) -> Result<Loaded> {
    let target = main_target(request.reference)?;
    let mut walk = Walk::default();
    walk.visit(target.clone(), None)?;
    let mut problems = walk.problems;
    let arguments = arguments(request, &mut problems);
    for layer in walk.layers.iter().chain(&arguments) {
        typing::check_layer(layer, &mut problems);
    }
    refuse(&problems)?;
    let layers: Vec<_> = walk
        .layers
        .iter()
        .map(|layer| Arc::clone(&layer.origin.source))
        .collect();
    let (profile, tree) = link(walk.layers, arguments, &target.stem())?;
    let stem = profile.name.clone();
    Ok(Loaded {
        profile,
        directory: target.folder(),
        stem,
        reference: request.reference.to_owned(),
        tree,
        layers,
    })
}

/// Parses and validates a profile without reading anything else: `extends` is checked but not
/// followed.
///
/// # Errors
/// As [`load`].
pub fn parse_bytes(bytes: &[u8]) -> Result<Profile> {
    let source = Arc::new(Source {
        name: PathBuf::from("profile.yaml"),
        text: text_of(bytes.to_vec(), Path::new("profile.yaml"))?,
        base: Base::Embedded,
    });
    let mut layer = parse(&source, 0).map_err(|problem| failure(&[*problem]))?;
    let mut problems = Vec::new();
    let below = board::load::expand(&mut layer, None, &mut problems)?;
    let layers: Vec<_> = below.into_iter().chain([layer]).collect();
    for layer in &layers {
        typing::check_layer(layer, &mut problems);
    }
    refuse(&problems)?;
    Ok(link(layers, Vec::new(), "profile")?.0)
}

fn refuse(problems: &[Problem]) -> Result<()> {
    if problems.is_empty() {
        Ok(())
    } else {
        Err(failure(problems).into())
    }
}

/// Merges checked layers and types the result.
fn link(layers: Vec<Node>, arguments: Vec<Node>, stem: &str) -> Result<(Profile, Node)> {
    let mut problems = Vec::new();
    let mut layers = layers.into_iter();
    let Some(first) = layers.next() else {
        return Err(Failure::new(Kind::Bug, "a profile without a layer").into());
    };
    let nothing = Node {
        value: Value::Map(Vec::new()),
        origin: first.origin.clone(),
    };
    let mut tree = merge::merge(nothing, first, &mut problems);
    for layer in layers {
        tree = merge::merge(tree, layer, &mut problems);
    }
    for argument in arguments {
        tree = merge::merge_arguments(tree, argument, &mut problems);
    }
    refuse(&problems)?;
    name_after_file(&mut tree, stem, &mut problems);
    typing::check_complete(&tree, &mut problems);
    refuse(&problems)?;
    let mut json = typing::to_json(&tree, ROOT_SHAPE).map_err(|problem| failure(&[*problem]))?;
    fill(&mut json)?;
    let profile: Profile = serde_json::from_value(json)
        .map_err(|error| Failure::new(Kind::Bug, format!("typing a checked profile: {error}")))?;
    rules::check(&profile, &tree, &mut problems);
    refuse(&problems)?;
    Ok((profile, tree))
}

/// The type of a whole profile.
pub(super) static ROOT_SHAPE: &Shape = &Shape::Record(&PROFILE);

/// `name` is the file's name where it is absent.
fn name_after_file(tree: &mut Node, stem: &str, problems: &mut Vec<Problem>) {
    if tree.get("name").is_some() {
        return;
    }
    if let Err(expected) = super::checks::name(stem) {
        problems.push(
            Problem::at(
                &tree.origin,
                format!(
                    "the file's name `{stem}` can't be the profile's name: expected {expected}"
                ),
            )
            .hint("rename the file, or add `name:`"),
        );
        return;
    }
    let origin = Origin::new(&tree.origin.source, 0..0);
    if let Value::Map(entries) = &mut tree.value {
        entries.insert(
            0,
            Entry {
                key: "name".into(),
                key_origin: origin.clone(),
                node: Node {
                    value: Value::Scalar {
                        text: stem.into(),
                        plain: false,
                    },
                    origin,
                },
            },
        );
    }
}

/// Defaults that depend on other values, or stand in a mapping that was given in part.
fn fill(json: &mut Json) -> Result<()> {
    let development = json.get("development") == Some(&Json::Bool(true));
    if development
        && let Some(os) = json.get_mut("os").and_then(Json::as_object_mut)
        && !os.contains_key("version")
    {
        os.insert("version".into(), "0.0.0-dev".into());
    }
    let Some(profile) = json.as_object_mut() else {
        return Ok(());
    };
    let optimize = profile
        .entry("optimize")
        .or_insert_with(|| serde_json::to_value(Optimize::usual(development)).unwrap_or_default());
    let optimize = Optimize::deserialize(&*optimize).unwrap_or_default();
    let root = profile.entry("root").or_insert_with(|| Map::new().into());
    if let Some(root) = root.as_object_mut()
        && let Some(given) = root
            .entry("compression")
            .or_insert_with(|| Map::new().into())
            .as_object_mut()
    {
        let codec = given
            .get("codec")
            .and_then(|codec| Codec::deserialize(codec).ok());
        let settings = optimize.compression(codec.unwrap_or(Codec::Zstd));
        let settings = serde_json::to_value(settings).context("listing defaults")?;
        for (key, value) in settings.as_object().into_iter().flatten() {
            given.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    Ok(())
}

/// The layers that `--set` and `--arch` stand for.
fn arguments(request: &LoadRequest<'_>, problems: &mut Vec<Problem>) -> Vec<Node> {
    let arch = request.arch.map(|arch| format!("arch={arch}"));
    let mut layers = Vec::new();
    for text in request.sets.iter().chain(&arch) {
        match argument(text) {
            Ok(layer) => layers.push(layer),
            Err(problem) => problems.push(*problem),
        }
    }
    layers
}

/// `a.b=VALUE` as a tree. A single value for a list is a list of one.
fn argument(text: &str) -> Result<Node, Box<Problem>> {
    let source = Arc::new(Source {
        name: PathBuf::from(ARGUMENT),
        text: text.to_string(),
        base: Base::Folder(PathBuf::from(".")),
    });
    let whole = Origin::new(&source, 0..text.len());
    let usage = |message: &str| {
        Box::new(Problem::at(&whole, message).hint("write it as `--set os.version=1.4.2`"))
    };
    let Some((path, _)) = text.split_once('=') else {
        return Err(usage("`--set` takes `PATH=VALUE`, and this has no `=`"));
    };
    if let "extends" | "board" = path.split('.').next().unwrap_or(path) {
        return Err(usage(&format!(
            "`{path}` can't be set from the command line"
        )));
    }
    let mut keys: Vec<(&str, usize)> = Vec::new();
    let mut shape = Some(ROOT_SHAPE);
    let mut at = 0;
    while at <= path.len() {
        let rest = &path[at..];
        // Keys of such a mapping have dots themselves (`net.ipv4.ip_forward`).
        let free = matches!(shape, Some(Shape::TextMap { .. }));
        let key = if free {
            rest
        } else {
            rest.split('.').next().unwrap_or(rest)
        };
        if key.is_empty() {
            return Err(usage("`--set` takes `PATH=VALUE` with keys between dots"));
        }
        if keys.len() > 8 {
            return Err(usage("no key of a profile lies that deep"));
        }
        keys.push((key, at));
        shape = match shape {
            Some(Shape::Record(record)) => record.field(key).map(|field| &field.shape),
            _ => None,
        };
        at += key.len() + 1;
    }
    let mut node = parse(&source, path.len() + 1)?;
    if let (Some(Shape::List(_) | Shape::Texts(_)), Value::Scalar { .. }) = (shape, &node.value) {
        node = Node {
            origin: node.origin.clone(),
            value: Value::List(vec![node]),
        };
    }
    for (key, at) in keys.into_iter().rev() {
        let key_origin = Origin::new(&source, at..at + key.len());
        node = Node {
            value: Value::Map(vec![Entry {
                key: key.to_string(),
                key_origin,
                node,
            }]),
            origin: whole.clone(),
        };
    }
    Ok(node)
}

/// A profile that is to be read.
#[derive(Debug, Clone)]
enum Target {
    Embedded(&'static str),
    File(PathBuf),
}

impl Target {
    fn stem(&self) -> String {
        match self {
            Self::Embedded(name) => (*name).into(),
            Self::File(path) => path
                .file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
                .unwrap_or_default(),
        }
    }

    fn folder(&self) -> Option<PathBuf> {
        match self {
            Self::Embedded(_) => None,
            Self::File(path) => Some(path.parent().unwrap_or(Path::new("")).to_path_buf()),
        }
    }

    /// The same profile has the same identity, however it was reached.
    fn identity(&self) -> Result<String> {
        Ok(match self {
            Self::Embedded(name) => format!("embedded {name}"),
            Self::File(path) => std::fs::canonicalize(path)
                .with_context(|| format!("reading the profile {}", path.display()))?
                .to_string_lossy()
                .into_owned(),
        })
    }

    fn shown(&self) -> String {
        match self {
            Self::Embedded(name) => (*name).into(),
            Self::File(path) => path.display().to_string(),
        }
    }

    fn read(&self) -> Result<Arc<Source>> {
        Ok(Arc::new(match self {
            Self::Embedded(name) => Source {
                name: PathBuf::from(format!("<built-in>/{name}.yaml")),
                text: embedded::profile(name).unwrap_or_default().into(),
                base: Base::Embedded,
            },
            Self::File(path) => Source {
                name: path.clone(),
                text: text_of(read_bounded(path, MOST_BYTES)?, path)?,
                base: Base::Folder(self.folder().unwrap_or_default()),
            },
        }))
    }
}

pub(super) fn is_path(reference: &str) -> bool {
    reference.contains('/') || reference.ends_with(".yaml") || reference.ends_with(".yml")
}

fn main_target(reference: &str) -> Result<Target> {
    if is_path(reference) {
        let path = PathBuf::from(reference);
        if path.is_dir() {
            return Err(Failure::new(
                Kind::Usage,
                format!("{reference} is a directory; expected a profile's file"),
            )
            .hint("name the `.yaml` file in it")
            .into());
        }
        if !path.exists() {
            return Err(
                Failure::new(Kind::Usage, format!("there is no profile at {reference}"))
                    .hint("`hullwright init DIR` makes a project with a profile")
                    .into(),
            );
        }
        return Ok(Target::File(path));
    }
    if let Some((name, _)) = embedded::PROFILES
        .iter()
        .find(|(name, _)| *name == reference)
    {
        return Ok(Target::Embedded(name));
    }
    let mut failure = Failure::new(
        Kind::Usage,
        format!("no built-in profile has the name `{reference}`"),
    );
    if Path::new(&format!("{reference}.yaml")).exists() {
        failure = failure.hint(format!("for the file here, write `./{reference}.yaml`"));
    } else if embedded::board(reference).is_some() {
        let line = format!("board: {reference}");
        let made: Vec<_> = embedded::PROFILES
            .iter()
            .filter(|(_, text)| text.lines().any(|own| own == line))
            .map(|(name, _)| format!("`{name}`"))
            .collect();
        failure = failure.hint(format!(
            "it is a board; profiles for it say `{line}`, as {} does",
            made.join(" and ")
        ));
    } else if let Some(near) = nearest(reference, embedded::names()) {
        failure = failure.hint(format!("did you mean `{near}`?"));
    }
    let names: Vec<_> = embedded::names().map(|name| format!("`{name}`")).collect();
    Err(failure
        .hint(format!(
            "the built-in profiles are {}; a path has a `/` or ends in `.yaml`",
            names.join(", ")
        ))
        .into())
}

/// A file of at most `most` bytes.
///
/// # Errors
/// It is not a regular file, is longer, or can't be read.
pub(super) fn read_bounded(path: &Path, most: usize) -> Result<Vec<u8>> {
    let context = || format!("reading {}", path.display());
    let file = File::open(path).with_context(context)?;
    if !file.metadata().with_context(context)?.is_file() {
        return Err(Failure::new(
            Kind::Usage,
            format!("{} is not a regular file", path.display()),
        )
        .into());
    }
    let mut bytes = Vec::new();
    file.take(most as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(context)?;
    if bytes.len() > most {
        return Err(Failure::new(
            Kind::Usage,
            format!("{} has more than {most} bytes", path.display()),
        )
        .into());
    }
    Ok(bytes)
}

pub(super) fn text_of(bytes: Vec<u8>, path: &Path) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        Failure::new(Kind::Usage, "this is not UTF-8 text")
            .at(path, Some(line as u64), None)
            .into()
    })
}

/// The walk over `extends`: bases before what builds on them, each once.
#[derive(Default)]
struct Walk {
    layers: Vec<Node>,
    problems: Vec<Problem>,
    done: BTreeSet<String>,
    open: Vec<(String, String)>,
}

impl Walk {
    fn visit(&mut self, target: Target, wanted: Option<&Origin>) -> Result<()> {
        let identity = target.identity()?;
        if let Some(start) = self.open.iter().position(|(open, _)| *open == identity) {
            let mut chain: Vec<_> = self
                .open
                .iter()
                .skip(start)
                .map(|(_, shown)| shown.clone())
                .collect();
            chain.push(target.shown());
            let message = format!(
                "profiles extend each other in a circle: {}",
                chain.join(" → ")
            );
            let problem = match wanted {
                Some(origin) => Problem::at(origin, message).label("closes the circle"),
                None => Problem::of(message),
            };
            return Err(failure(&[problem]).into());
        }
        if !self.done.insert(identity.clone()) {
            return Ok(());
        }
        if self.done.len() > MOST_LAYERS {
            return Err(Failure::new(
                Kind::Usage,
                format!("this profile is made of more than {MOST_LAYERS} profiles"),
            )
            .into());
        }
        let source = target.read()?;
        let mut layer = match parse(&source, 0) {
            Ok(layer) => layer,
            Err(problem) => {
                self.problems.push(*problem);
                return Ok(());
            }
        };
        self.open.push((identity, target.shown()));
        if let Some(extends) = layer.get("extends") {
            let single = std::slice::from_ref(extends);
            let list = match &extends.value {
                Value::List(items) => items.as_slice(),
                _ => single,
            };
            for item in list {
                let Some(reference) = item.text() else {
                    continue;
                };
                match base_target(reference, &target) {
                    Ok(base) => self.visit(base, Some(&item.origin))?,
                    Err(hints) => {
                        let mut problem = Problem::at(
                            &item.origin,
                            format!("there is no profile `{reference}` to extend"),
                        );
                        problem.hints = hints;
                        self.problems.push(problem);
                    }
                }
            }
        }
        self.open.pop();
        let below =
            board::load::expand(&mut layer, target.folder().as_deref(), &mut self.problems)?;
        self.layers.extend(below);
        self.layers.push(layer);
        Ok(())
    }
}

/// What `extends: reference` in `from` means, or hints why it means nothing.
fn base_target(reference: &str, from: &Target) -> Result<Target, Vec<String>> {
    let folder = from.folder();
    if is_path(reference) {
        let Some(folder) = folder else {
            return Err(vec![
                "built-in profiles extend built-in profiles by name".into(),
            ]);
        };
        let path = folder.join(reference);
        return if path.is_file() {
            Ok(Target::File(tidy(&path)))
        } else {
            Err(vec![format!("{} is not a file", path.display())])
        };
    }
    if let (Some(folder), Target::File(own)) = (&folder, from) {
        for ending in ["yaml", "yml"] {
            let path = folder.join(format!("{reference}.{ending}"));
            // A file that extends its own name means the built-in profile.
            if path.is_file() && path.file_name() != own.file_name() {
                return Ok(Target::File(tidy(&path)));
            }
        }
    }
    if let Some((name, _)) = embedded::PROFILES
        .iter()
        .find(|(name, _)| *name == reference)
    {
        return Ok(Target::Embedded(name));
    }
    let mut hints = Vec::new();
    if let Some(near) = nearest(reference, embedded::names()) {
        hints.push(format!("did you mean `{near}`?"));
    }
    let names: Vec<_> = embedded::names().map(|name| format!("`{name}`")).collect();
    hints.push(match folder {
        Some(folder) => format!(
            "expected {} or a built-in profile: {}",
            folder.join(format!("{reference}.yaml")).display(),
            names.join(", ")
        ),
        None => format!("the built-in profiles are {}", names.join(", ")),
    });
    Err(hints)
}

/// Without `./` in front, so that messages name files as people do.
pub(super) fn tidy(path: &Path) -> PathBuf {
    path.components()
        .filter(|c| !matches!(c, std::path::Component::CurDir))
        .collect()
}
