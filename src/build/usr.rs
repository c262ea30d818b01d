//! `/usr` on disk: the image and its hash tree, in one pass over the data.
//!
//! Three threads share the pass: one reads and checks what the cache holds, one computes the hash of
//! the image, one writes it. Blocks whose leaf hashes are known are not hashed again.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use anyhow::{Context as _, Result};
use sha2::Digest as _;

use super::Inputs;
use crate::digest::Sha256;
use crate::erofs::{Account, ImageOptions, Plan, Segment};
use crate::failure::Failure;
use crate::stamp::Seed;
use crate::store::Memo;
use crate::tree::{Tree, TreePath};
use crate::verity::{self, LeafHasher, Leaves};

/// Bytes that go from thread to thread at once.
const BATCH: usize = 1 << 20;
/// Bytes that are read at once where all cores hash them.
const HASHED: usize = 32 << 20;
/// Batches under way to each thread.
const QUEUE: usize = 4;

/// `/usr` on disk.
pub(super) struct Usr {
    pub(super) image: PathBuf,
    pub(super) image_size: u64,
    pub(super) image_sha256: Sha256,
    pub(super) hashes: PathBuf,
    pub(super) hashes_sha256: Sha256,
    pub(super) verity: verity::Verity,
    pub(super) account: Account,
}

/// Lays the image out.
pub(super) fn plan(inputs: &Inputs<'_>, tree: &Tree, seed: Seed) -> Result<Plan> {
    let profile = &inputs.loaded.profile;
    Ok(Plan::with_packs(
        &tree.subtree(&TreePath::parse("usr")?),
        &ImageOptions {
            stamp: inputs.stamp,
            uuid: seed.uuid("usr-erofs"),
            label: String::new(),
            settings: profile.root.compression.settings(),
            packs: profile.root.compression.packs(),
        },
        &inputs.archive.store,
    )
    .map_err(Failure::from)?)
}

/// Writes `usr.erofs` and `usr.verity` into `out`.
pub(super) fn write(inputs: &Inputs<'_>, tree: &Tree, seed: Seed, out: &Path) -> Result<Usr> {
    let stage = inputs.archive.progress.stage("usr", None);
    let profile = &inputs.loaded.profile;
    let plan = plan(inputs, tree, seed)?;
    let image = out.join("usr.erofs");
    let hashes = out.join("usr.verity");
    let salt = verity::salt(&profile.os.id);
    let (image_sha256, leaves) =
        write_image(&plan, &image, salt, &inputs.archive.store).context("writing usr.erofs")?;
    let mut bytes = Vec::new();
    let verity = leaves
        .write(seed.uuid("usr-verity"), &mut bytes)
        .context("making usr.verity")?;
    std::fs::write(&hashes, &bytes).context("writing usr.verity")?;
    stage.add(plan.size());
    Ok(Usr {
        image,
        image_size: plan.size(),
        image_sha256,
        hashes,
        hashes_sha256: Sha256::of(&bytes),
        verity,
        account: plan.into_account(),
    })
}

fn write_image(
    plan: &Plan,
    path: &Path,
    salt: [u8; 32],
    memo: &dyn Memo,
) -> Result<(Sha256, Leaves)> {
    let books = Books::open(plan, salt, memo);
    let file = File::create(path)?;
    let (to_hash, hashing) = sync_channel(QUEUE);
    let (to_file, writing) = sync_channel(QUEUE);
    std::thread::scope(|scope| {
        let hash = scope.spawn(move || hash(&hashing));
        let written = scope.spawn(move || write_batches(file, &writing));
        let fan = Fan {
            batch: Vec::with_capacity(BATCH),
            to: [to_hash, to_file],
            sent: VecDeque::new(),
        };
        let mut hasher = LeafHasher::new(fan, salt);
        let emitted = emit(plan, &books, &mut hasher)
            .and_then(|()| Ok(hasher.finish()?))
            .and_then(|(fan, leaves)| {
                fan.finish()?;
                Ok(leaves)
            });
        // A writer that has failed is why nobody takes what is emitted.
        let panicked = |_| anyhow::anyhow!("a thread that writes the image has panicked");
        written.join().map_err(panicked)??;
        let leaves = emitted?;
        books.keep(&leaves, memo);
        Ok((hash.join().map_err(panicked)?, leaves))
    })
}

fn hash(batches: &Receiver<Arc<Vec<u8>>>) -> Sha256 {
    let mut hash = sha2::Sha256::new();
    for batch in batches {
        hash.update(&*batch);
    }
    Sha256(hash.finalize().into())
}

fn write_batches(mut file: File, batches: &Receiver<Arc<Vec<u8>>>) -> io::Result<()> {
    batches.iter().try_for_each(|batch| file.write_all(&batch))
}

fn emit<W: Write>(plan: &Plan, books: &Books, out: &mut LeafHasher<W>) -> Result<()> {
    let mut buffer = Vec::new();
    for (number, segment) in plan.segments().enumerate() {
        match segment {
            Segment::Metadata(bytes) => out.write_all(bytes)?,
            Segment::Blob { blob, len } => {
                let known = books.leaves(number);
                // What need not be hashed stays in the processor's cache from step to step.
                let step = if known.is_some() { BATCH } else { HASHED };
                for start in (0..len).step_by(step) {
                    let end = len.min(start + step as u64);
                    let bytes = blob.data().range_into(start..end, &mut buffer)?;
                    let blocks = start as usize / verity::format::BLOCK
                        ..end as usize / verity::format::BLOCK;
                    match known {
                        Some(known) => {
                            out.write_known(bytes, known.get(blocks).unwrap_or_default())?;
                        }
                        None => out.write_all(bytes)?,
                    }
                }
            }
        }
    }
    Ok(())
}

/// Hands what is written to several threads, in batches.
struct Fan {
    batch: Vec<u8>,
    to: [SyncSender<Arc<Vec<u8>>>; 2],
    /// Batches that may still be with a thread, the oldest first: their memory serves again.
    sent: VecDeque<Arc<Vec<u8>>>,
}

impl Fan {
    fn send(&mut self) -> io::Result<()> {
        let batch = Arc::new(std::mem::take(&mut self.batch));
        for to in &self.to {
            let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
            to.send(Arc::clone(&batch)).map_err(gone)?;
        }
        self.sent.push_back(batch);
        let oldest = self.sent.pop_front().map(Arc::try_unwrap);
        self.batch = match oldest {
            Some(Ok(free)) => free,
            Some(Err(in_use)) => {
                self.sent.push_front(in_use);
                Vec::with_capacity(BATCH)
            }
            None => Vec::with_capacity(BATCH),
        };
        self.batch.clear();
        Ok(())
    }

    /// Sends what is left, and lets the threads come to their end.
    fn finish(mut self) -> io::Result<()> {
        self.send()
    }
}

impl Write for Fan {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BATCH - self.batch.len());
        self.batch
            .extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.batch.len() == BATCH {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How the books are called where they are kept.
const KIND: &str = "leaves-1";
/// Number of books: so many that one changed file makes few others be hashed again, and so few that
/// opening them costs nothing.
const BOOKS: usize = 64;

/// The leaf hashes of what the cache holds, by the checksums of the very bytes: those of a book are for
/// all blobs of an image whose checksums begin alike.
struct Books {
    books: Vec<Book>,
    /// For each segment its book and its first leaf in there, and its first block of the image.
    places: Vec<Option<Place>>,
}

#[derive(Default)]
struct Book {
    key: blake3::Hasher,
    leaves: u64,
    known: Option<Vec<u8>>,
}

#[derive(Clone, Copy)]
struct Place {
    book: usize,
    leaf: u64,
    block: u64,
    blocks: u64,
}

impl Books {
    fn open(plan: &Plan, salt: [u8; 32], memo: &dyn Memo) -> Self {
        let mut books: Vec<Book> = (0..BOOKS).map(|_| Book::default()).collect();
        let mut places = Vec::new();
        let mut block = 0;
        for segment in plan.segments() {
            let blocks = segment.len() / verity::format::BLOCK as u64;
            let sum = match segment {
                Segment::Metadata(_) => None,
                Segment::Blob { blob, len } => blob.data().stored().map(|data| data.sum(0..len)),
            };
            places.push(sum.filter(|_| blocks > 0).and_then(|sum| {
                let number = usize::from(*sum.as_bytes().first()?) % BOOKS;
                let book = books.get_mut(number)?;
                book.key.update(sum.as_bytes());
                let leaf = book.leaves;
                book.leaves += blocks;
                Some(Place {
                    book: number,
                    leaf,
                    block,
                    blocks,
                })
            }));
            block += blocks;
        }
        for book in books.iter_mut().filter(|book| book.leaves > 0) {
            book.key.update(&salt);
            let known = memo.recall(KIND, &book.key.finalize());
            book.known = known.filter(|known| known.len() as u64 == book.leaves * 32);
        }
        Self { books, places }
    }

    /// The leaf hashes of the blocks of a segment, if they are known.
    fn leaves(&self, segment: usize) -> Option<&[[u8; 32]]> {
        let place = self.places.get(segment).copied().flatten()?;
        let known = self.books.get(place.book)?.known.as_ref()?;
        let (leaves, _) = known.as_chunks();
        leaves.get(place.leaf as usize..(place.leaf + place.blocks) as usize)
    }

    /// Keeps the books that were not known, from the leaves of the image.
    fn keep(&self, image: &Leaves, memo: &dyn Memo) {
        for (number, book) in self.books.iter().enumerate() {
            if book.leaves == 0 || book.known.is_some() {
                continue;
            }
            let members = self.places.iter().flatten().filter(|p| p.book == number);
            let bytes: Vec<u8> = members
                .filter_map(|place| {
                    let end = place.block + place.blocks;
                    image.digests().get(place.block as usize..end as usize)
                })
                .flatten()
                .flatten()
                .copied()
                .collect();
            memo.keep(KIND, &book.key.finalize(), &bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::erofs::{Blob, Codec, CodecSettings, PackBy, Tails};
    use crate::stamp::Stamp;
    use crate::store::Store;
    use crate::store::memo::testing::Kept;
    use crate::tree::{Content, Kind, Meta, Node, Origin};

    const SETTINGS: CodecSettings = CodecSettings {
        codec: Codec::Zstd,
        level: 1,
        chunk: 4096,
        tails: Tails::Own,
    };

    /// Noise of so many blocks, different for each seed.
    fn noise(seed: u64, blocks: usize) -> Vec<u8> {
        let mut out = blake3::Hasher::new();
        out.update(&seed.to_le_bytes());
        let mut bytes = vec![0; blocks * 4096];
        out.finalize_xof().fill(&mut bytes);
        bytes
    }

    fn tree(store: &Store, files: impl IntoIterator<Item = u64>) -> Tree {
        let mut tree = Tree::new();
        let mut put = |path: String, content: Content| {
            let node = Node {
                meta: Meta::root(0o644),
                kind: Kind::File {
                    content,
                    link: None,
                },
                origin: Origin::Generated("test".into()),
            };
            tree.insert(TreePath::parse(path).unwrap(), node);
        };
        for seed in files {
            let blob = Blob::compile(&noise(seed, seed as usize % 7 + 1), &SETTINGS);
            let key = blake3::hash(&seed.to_le_bytes());
            let kept = store.keep_derived_blob("test", &key, &blob).unwrap();
            put(format!("stored-{seed}"), Content::Blob(kept));
        }
        put("made".into(), noise(1000, 3).into());
        tree
    }

    fn plan(tree: &Tree) -> Plan {
        let options = ImageOptions {
            stamp: Stamp::from_seconds(1),
            uuid: Uuid::nil(),
            label: String::new(),
            settings: SETTINGS,
            packs: PackBy::Image,
        };
        Plan::new(tree, &options).unwrap()
    }

    #[test]
    fn known_leaves_make_the_same_tree_and_one_more_file_needs_one_more_book() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        let kept = Kept::default();
        let path = dir.path().join("image");
        let written = |tree: &Tree, memo: &dyn Memo| {
            let plan = plan(tree);
            let (sha256, leaves) = write_image(&plan, &path, [3; 32], memo).unwrap();
            let image = std::fs::read(&path).unwrap();
            assert_eq!(Sha256::of(&image), sha256);
            let (mut ours, mut plain) = (Vec::new(), Vec::new());
            leaves.write(Uuid::nil(), &mut ours).unwrap();
            let len = image.len() as u64;
            verity::build(&mut &*image, len, &[3; 32], Uuid::nil(), &mut plain).unwrap();
            assert!(ours == plain);
            image
        };
        let few = tree(&store, 0..300);
        let first = written(&few, &kept);
        assert_eq!(kept.misses().len(), BOOKS);
        assert!(written(&few, &kept) == first);
        assert_eq!(kept.misses(), [""; 0]);
        written(&tree(&store, 0..301), &kept);
        assert_eq!(kept.misses(), [KIND]);
    }

    #[test]
    fn a_folder_that_cannot_be_written_to_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("cache")).unwrap();
        let plan = plan(&tree(&store, 0..3));
        let full = Path::new("/dev/full");
        let error = write_image(&plan, full, [0; 32], &store).unwrap_err();
        assert!(format!("{error:#}").contains("No space"), "{error:#}");
    }
}
