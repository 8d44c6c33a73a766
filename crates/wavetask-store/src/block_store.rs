//! What any store of blocks must be able to do.

use std::fmt;

use wavetask_document::{BlockSink, BlockSource, Digest};

use crate::error::Result;

/// Blocks by their digest.
///
/// Reading is [`BlockSource::get`], which verifies the digest. All methods block.
///
/// # Why a garbage collection can never take a block from under an upload
/// Blocks are shared, so nobody owns one: a block may go when no document needs it. Between the moment that
/// an upload finds or writes a block and the moment that the document which needs it is committed, the
/// database knows nothing of that need. Therefore a [session](BlockSession) **pins** every block that it
/// puts or names, *before* it looks whether the block is there, and keeps the pins until it is dropped,
/// which its user does after the commit. The collector takes each candidate in four steps under a lock that
/// pinning takes too: is it pinned? does a document need it, as the database says *now*? then unlink, and
/// unlock. Whichever of the two comes first, the other sees it:
///
/// - the pin is there before the collector looks: the block stays;
/// - the pin has gone again: the commit came before that, and the database, asked after it, names the block;
/// - the collector unlinks first: the session looks afterwards, finds nothing, and writes the block anew.
///
/// Pins live in memory. They need not outlive the process, because a session does not either: after a crash
/// no upload is under way, and one process at most works on a folder
/// ([`DataFolder`](crate::DataFolder) locks it).
pub trait BlockStore: BlockSource + fmt::Debug + Send + Sync {
    /// Begins to write. Blocks put into the session stay until it is dropped, and longer if a document that
    /// was committed meanwhile needs them.
    fn session(&self) -> Box<dyn BlockSession>;

    /// Whether the block is there and durable.
    fn contains(&self, digest: &Digest) -> Result<bool>;

    /// Removes those of the candidates that no document needs and no session pins.
    fn collect_garbage(
        &self,
        candidates: Candidates<'_>,
        references: &dyn BlockReferences,
    ) -> Result<Collected>;

    /// Number and length of all blocks. Looks at every one.
    fn usage(&self) -> Result<Usage>;

    /// Refuses (`NoSpace`) if less than the store's reserve and `byte_length` is free. The server asks before
    /// it accepts an upload, so that the last free space stays with the database, which has to be able to
    /// write down that a task failed for want of space.
    fn check_space(&self, byte_length: u64) -> Result<()>;
}

/// One writer's blocks.
///
/// [`BlockSink::put`] hands a block over: it need not be durable then. [`make_durable`](Self::make_durable)
/// is the point after which all blocks so far survive a loss of power; a document must not be committed
/// before. Putting many small blocks and making them durable at once costs a few syncs instead of one each.
pub trait BlockSession: BlockSink + fmt::Debug + Send {
    /// Makes everything durable that was put so far.
    ///
    /// # Errors
    /// `NoSpace`, or what the disk says. Then nothing of this session counts: drop it and begin again.
    fn make_durable(&mut self) -> Result<()>;

    /// Pins a block that is there already; answers whether it is. What is pinned so may be named by a
    /// document without being sent again.
    fn pin(&mut self, digest: &Digest) -> Result<bool>;

    /// Number and length of the blocks that were new to the store.
    fn written(&self) -> Usage;
}

/// Knows which blocks documents need. Implemented by every task store.
pub trait BlockReferences {
    /// Of these blocks, those that no document needs, as of now.
    fn unreferenced(&self, blocks: &[Digest]) -> Result<Vec<Digest>>;
}

impl<Store: crate::TaskStore + ?Sized> BlockReferences for Store {
    fn unreferenced(&self, blocks: &[Digest]) -> Result<Vec<Digest>> {
        crate::TaskStore::unreferenced(self, blocks)
    }
}

/// What the garbage collector should look at.
#[derive(Clone, Copy, Debug)]
pub enum Candidates<'a> {
    /// Every block of the store.
    All,
    /// These.
    These(&'a [Digest]),
    /// Blocks of sessions that have ended since the last time: of an upload that was refused or cut off, no
    /// document will ever say that it no longer needs them. The first time after the store was opened,
    /// every block, for sessions end without a word when a process does.
    Abandoned,
}

/// What the garbage collector did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Number of blocks looked at.
    pub examined: u64,
    /// Number and length of the blocks removed.
    pub removed: Usage,
    /// Number of unneeded blocks left because a session pinned them.
    pub pinned: u64,
}

impl Collected {
    /// Adds what was done another time.
    pub fn add(&mut self, other: &Self) {
        self.examined += other.examined;
        self.removed.blocks += other.removed.blocks;
        self.removed.bytes += other.removed.bytes;
        self.pinned += other.pinned;
    }
}

/// A number of blocks and their length.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Number.
    pub blocks: u64,
    /// Length in bytes.
    pub bytes: u64,
}
