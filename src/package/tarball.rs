//! Walks a tar archive member by member: bounded, strict, without touching a file system.
//!
//! The `tar` crate reads the headers. Its own handling of extension headers is not used (`raw`),
//! because it reads them without a bound and cuts PAX records at newlines.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

use tar::EntryType;

use super::limits::{FIRST_ALLOCATION, Limits};
use super::pax::{self, Pax, PaxError};
use crate::tree::{Meta, PathError, TreePath};

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// A header can't be read or data can't be decompressed.
    #[error("after {after}: {source}")]
    Read {
        /// Name of the last good member.
        after: String,
        /// Cause.
        source: io::Error,
    },
    /// The archive ends without the blocks of zeros that end one.
    #[error("cut off after {0}")]
    Truncated(String),
    /// Bytes other than zeros after the end.
    #[error("there is data behind the end of the archive")]
    Trailing,
    /// More members than a package may have.
    #[error("more than {0} members")]
    TooMany(usize),
    /// A member that breaks the rules.
    #[error("member `{name}`: {problem}")]
    Member {
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: Problem,
    },
}

/// What is wrong with a member.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Its path.
    #[error("{0}")]
    Path(#[from] PathError),
    /// Its extended header.
    #[error("{0}")]
    Pax(#[from] PaxError),
    /// A declared size over a limit.
    #[error("declares {size} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Declared.
        size: u64,
        /// Allowed.
        limit: u64,
    },
    /// Less data than declared.
    #[error("declares {size} bytes, but the archive ends after {found}")]
    Short {
        /// Declared.
        size: u64,
        /// Found.
        found: u64,
    },
    /// A header field that is no number or out of range.
    #[error("bad {field} in its header: {detail}")]
    Field {
        /// Which.
        field: &'static str,
        /// What stands there.
        detail: String,
    },
    /// Two extension headers of one kind, or one at the end.
    #[error("a {0} header that belongs to no member, or twice to one")]
    Extension(&'static str),
    /// A type that does not belong into a package.
    #[error("is of type {0:?}, which packages can't hold")]
    Type(char),
    /// A link without a target, or with one that no file system can store.
    #[error("its link target is empty, longer than 4095 bytes or contains a NUL byte")]
    Target,
    /// What the visitor has against it.
    #[error("{0}")]
    Refused(String),
}

/// Type of a member, with what its header holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemberKind {
    /// A directory.
    Dir,
    /// A regular file of so many bytes.
    File(u64),
    /// A further name of an earlier member.
    HardLink(TreePath),
    /// A symbolic link.
    Symlink(Vec<u8>),
    /// A character device, major and minor.
    CharDevice(u32, u32),
    /// A block device, major and minor.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
}

/// One member without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Normalised path.
    pub path: TreePath,
    /// Owner, mode, extended attributes.
    pub meta: Meta,
    /// Type.
    pub kind: MemberKind,
}

/// Lets through only as many bytes as the walk has allowed for the part that is being read.
struct Gate<R> {
    inner: R,
    state: Rc<GateState>,
}

#[derive(Default)]
struct GateState {
    allowance: Cell<u64>,
    ended: Cell<bool>,
}

impl<R: Read> Read for Gate<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        let allowance = self.state.allowance.get();
        let ask = usize::try_from(allowance)
            .unwrap_or(usize::MAX)
            .min(buf.len());
        if ask == 0 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the headers before a member are longer than allowed",
            ));
        }
        let n = self.inner.read(buf.get_mut(..ask).unwrap_or_default())?;
        self.state.allowance.set(allowance.saturating_sub(n as u64));
        if n == 0 {
            self.state.ended.set(true);
        }
        Ok(n)
    }
}

fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name.get(..120).unwrap_or(name)).into_owned()
}

/// Extension headers that wait for their member.
#[derive(Default)]
struct Pending {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    pax: Option<Pax>,
}

fn once<T>(slot: &mut Option<T>, value: T, what: &'static str) -> Result<(), Problem> {
    if slot.replace(value).is_some() {
        return Err(Problem::Extension(what));
    }
    Ok(())
}

fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&b| b == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// Reads exactly `size` bytes; memory grows with what is there, not with what is declared.
fn read_exactly(reader: &mut dyn Read, size: u64) -> Result<Vec<u8>, ReadError> {
    let first = usize::try_from(size.min(FIRST_ALLOCATION)).unwrap_or(0);
    let mut out = Vec::with_capacity(first);
    reader
        .take(size)
        .read_to_end(&mut out)
        .map_err(ReadError::Io)?;
    if out.len() as u64 == size {
        Ok(out)
    } else {
        Err(ReadError::Problem(Problem::Short {
            size,
            found: out.len() as u64,
        }))
    }
}

enum ReadError {
    Io(io::Error),
    Problem(Problem),
}

impl From<Problem> for ReadError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<PaxError> for ReadError {
    fn from(error: PaxError) -> Self {
        Self::Problem(error.into())
    }
}

/// The content of a member, which a visitor may read as a whole or as a stream.
pub struct Data<'a> {
    reader: &'a mut dyn Read,
    size: u64,
    got: u64,
}

impl std::fmt::Debug for Data<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Data").field("size", &self.size).finish()
    }
}

impl Read for Data<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buf)?;
        self.got = self.got.saturating_add(n as u64);
        Ok(n)
    }
}

/// Why a visitor stops the walk.
#[derive(Debug)]
pub enum Stop {
    /// The member is refused.
    Refused(String),
    /// Its data can't be read.
    Io(io::Error),
    /// Its data is shorter than declared.
    Problem(Problem),
}

impl Data<'_> {
    /// The whole content.
    ///
    /// # Errors
    /// Truncated or undecodable data.
    pub fn read(&mut self) -> Result<Vec<u8>, Stop> {
        let size = self.size;
        read_exactly(self, size).map_err(|error| match error {
            ReadError::Io(error) => Stop::Io(error),
            ReadError::Problem(problem) => Stop::Problem(problem),
        })
    }

    /// The reason behind an error of a consumer that was given this as a stream.
    #[must_use]
    pub fn stop(&self, error: &anyhow::Error) -> Stop {
        let cause = error.chain().find_map(|e| e.downcast_ref::<io::Error>());
        match cause {
            Some(e) if e.kind() == io::ErrorKind::UnexpectedEof => Stop::Problem(Problem::Short {
                size: self.size,
                found: self.got,
            }),
            Some(e) => Stop::Io(io::Error::new(e.kind(), e.to_string())),
            None => Stop::Refused(format!("{error:#}")),
        }
    }
}

fn number(field: &'static str, value: io::Result<u64>) -> Result<u64, Problem> {
    value.map_err(|error| Problem::Field {
        field,
        detail: error.to_string(),
    })
}

fn id(field: &'static str, value: u64) -> Result<u32, Problem> {
    // The all-ones id means "no change" to chown(2) and can own nothing.
    u32::try_from(value)
        .ok()
        .filter(|&id| id != u32::MAX)
        .ok_or_else(|| Problem::Field {
            field,
            detail: format!("{value} is no user or group number"),
        })
}

fn target(bytes: Option<Vec<u8>>) -> Result<Vec<u8>, Problem> {
    bytes
        .filter(|t| !t.is_empty() && t.len() < 4096 && !t.contains(&0))
        .ok_or(Problem::Target)
}

fn device(header: &tar::Header) -> Result<(u32, u32), Problem> {
    let part = |field, value: io::Result<Option<u32>>| {
        value
            .map_err(|error| error.to_string())
            .and_then(|number| number.ok_or_else(|| "an old header has none".into()))
            .map_err(|detail| Problem::Field { field, detail })
    };
    let major = part("device major", header.device_major())?;
    let minor = part("device minor", header.device_minor())?;
    // Linux packs a device number into 12 + 20 bits (new_encode_dev).
    if major >= 1 << 12 || minor >= 1 << 20 {
        return Err(Problem::Field {
            field: "device number",
            detail: format!("{major}:{minor} is out of Linux's range"),
        });
    }
    Ok((major, minor))
}

/// Makes a member of a header and the extension headers before it.
fn member(
    header: &tar::Header,
    declared: u64,
    pending: Pending,
    limits: &Limits,
) -> Result<Member, Problem> {
    let Pending { name, link, pax } = pending;
    let pax = pax.unwrap_or_default();
    if name.is_some() && pax.path.is_some() || link.is_some() && pax.linkpath.is_some() {
        return Err(Problem::Extension("GNU long name beside a PAX path"));
    }
    let name = name
        .or(pax.path)
        .unwrap_or_else(|| header.path_bytes().into_owned());
    let path = TreePath::from_archive(&name)?;
    // Readers that disagree on a size see different members after it.
    let size = pax.size.unwrap_or(declared);
    if size != declared {
        return Err(Problem::Field {
            field: "size",
            detail: format!("{declared}, but {size} in the PAX header"),
        });
    }
    let kind = header.entry_type();
    if size != 0 && !matches!(kind, EntryType::Regular | EntryType::Continuous) {
        return Err(Problem::Field {
            field: "size",
            detail: format!("{size} for something that holds no data"),
        });
    }
    let link = || {
        link.or(pax.linkpath)
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
    };
    let kind = match kind {
        // deb(5) archives made by v7 tar mark directories by a trailing slash.
        EntryType::Regular if size == 0 && name.ends_with(b"/") => MemberKind::Dir,
        EntryType::Regular | EntryType::Continuous => {
            if size > limits.file {
                return Err(Problem::TooLarge {
                    size,
                    limit: limits.file,
                });
            }
            MemberKind::File(size)
        }
        EntryType::Directory => MemberKind::Dir,
        EntryType::Link => MemberKind::HardLink(TreePath::from_archive(&target(link())?)?),
        EntryType::Symlink => MemberKind::Symlink(target(link())?),
        EntryType::Char => {
            let (major, minor) = device(header)?;
            MemberKind::CharDevice(major, minor)
        }
        EntryType::Block => {
            let (major, minor) = device(header)?;
            MemberKind::BlockDevice(major, minor)
        }
        EntryType::Fifo => MemberKind::Fifo,
        other => return Err(Problem::Type(char::from(other.as_byte()))),
    };
    if path.is_root() && kind != MemberKind::Dir {
        return Err(Problem::Refused("the root must be a directory".into()));
    }
    let mode = match kind {
        // Linux knows no other.
        MemberKind::Symlink(_) => 0o777,
        // File type bits, which some writers repeat here, go.
        _ => number("mode", header.mode().map(u64::from))? & 0o7777,
    };
    let uid = pax.uid.map_or_else(|| number("uid", header.uid()), Ok)?;
    let gid = pax.gid.map_or_else(|| number("gid", header.gid()), Ok)?;
    Ok(Member {
        path,
        meta: Meta {
            mode: mode as u16,
            uid: id("uid", uid)?,
            gid: id("gid", gid)?,
            xattrs: pax.xattrs,
        },
        kind,
    })
}

/// Calls `visit` for each member in archive order.
///
/// # Errors
/// See [`TarError`]; the first one ends the walk.
pub fn walk<R: Read>(
    reader: R,
    limits: &Limits,
    mut visit: impl FnMut(Member, &mut Data<'_>) -> Result<(), Stop>,
) -> Result<(), TarError> {
    let state = Rc::new(GateState::default());
    let mut archive = tar::Archive::new(Gate {
        inner: reader,
        state: state.clone(),
    });
    let mut last = String::from("the beginning");
    let broken = |after: &str, source| TarError::Read {
        after: after.into(),
        source,
    };
    let mut pending = Pending::default();
    let mut has_pending = false;
    let mut seen = 0_usize;
    // Room for the padding of the previous member and a header.
    let header_room = limits.header.saturating_add(2048);
    state.allowance.set(header_room);
    let entries = archive.entries().map_err(|e| broken(&last, e))?.raw(true);
    for entry in entries {
        let mut entry = entry.map_err(|e| {
            if state.ended.get() {
                TarError::Truncated(last.clone())
            } else {
                broken(&last, e)
            }
        })?;
        let size = entry.size();
        let kind = entry.header().entry_type();
        let name = pending
            .name
            .clone()
            .or_else(|| pending.pax.as_ref().and_then(|p| p.path.clone()))
            .unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = shown(&name);
        let wrong = |problem| TarError::Member {
            name: name.clone(),
            problem,
        };
        let read_wrong = |error| match error {
            ReadError::Io(source) => broken(&name, source),
            ReadError::Problem(problem) => wrong(problem),
        };
        if matches!(
            kind,
            EntryType::GNULongName
                | EntryType::GNULongLink
                | EntryType::XHeader
                | EntryType::XGlobalHeader
        ) {
            if size > limits.header {
                return Err(wrong(Problem::TooLarge {
                    size,
                    limit: limits.header,
                }));
            }
            let bytes = read_exactly(&mut entry, size).map_err(read_wrong)?;
            let taken = match kind {
                EntryType::GNULongName => {
                    once(&mut pending.name, until_nul(bytes), "GNU long name")
                }
                EntryType::GNULongLink => {
                    once(&mut pending.link, until_nul(bytes), "GNU long link")
                }
                EntryType::XHeader => pax::parse(&bytes)
                    .map_err(Problem::from)
                    .and_then(|parsed| once(&mut pending.pax, parsed, "PAX")),
                // What git archive writes is a comment; anything else would change every member.
                _ => match pax::parse(&bytes) {
                    Ok(parsed) if parsed == Pax::default() => Ok(()),
                    Ok(_) => Err(Problem::Extension("global PAX")),
                    Err(error) => Err(error.into()),
                },
            };
            taken.map_err(wrong)?;
            has_pending |= kind != EntryType::XGlobalHeader;
            continue;
        }
        seen += 1;
        if seen > limits.entries {
            return Err(TarError::TooMany(limits.entries));
        }
        has_pending = false;
        let member =
            member(entry.header(), size, std::mem::take(&mut pending), limits).map_err(wrong)?;
        if let MemberKind::File(size) = member.kind {
            state.allowance.set(size.saturating_add(header_room));
        }
        let mut data = Data {
            reader: &mut entry,
            size,
            got: 0,
        };
        visit(member, &mut data).map_err(|stop| match stop {
            Stop::Refused(why) => wrong(Problem::Refused(why)),
            Stop::Io(source) => broken(&name, source),
            Stop::Problem(problem) => wrong(problem),
        })?;
        // What a visitor does not read must still be there.
        io::copy(&mut data, &mut io::sink()).map_err(|e| broken(&name, e))?;
        if data.got != size {
            return Err(wrong(Problem::Short {
                size,
                found: data.got,
            }));
        }
        state.allowance.set(header_room);
        last = name;
    }
    if has_pending {
        return Err(TarError::Member {
            name: last,
            problem: Problem::Extension("extension"),
        });
    }
    if state.ended.get() {
        return Err(TarError::Truncated(last));
    }
    // Reading on to the end lets the decoder verify its checks; tar pads with zeros.
    let mut rest = archive.into_inner().inner;
    let mut buf = [0; 4096];
    let mut padding = 0_u64;
    loop {
        let n = rest.read(&mut buf).map_err(|e| broken(&last, e))?;
        let bytes = buf.get(..n).unwrap_or_default();
        if n == 0 {
            return Ok(());
        }
        padding += n as u64;
        if bytes.iter().any(|&b| b != 0) || padding > limits.header {
            return Err(TarError::Trailing);
        }
    }
}
