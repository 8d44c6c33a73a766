//! Results in memory within a budget, and fetching what is not there.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use wavetask_document::{ArrayDescriptor, Digest, Document, Part};
use wavetask_protocol::TaskId;
use wavetask_protocol::native::{
    MAXIMUM_BLOCKS, MAXIMUM_PART, PartRequest, ResultAnswer, ResultOutcome, ResultsRequest, WantedBlock,
};

use super::Engine;
use crate::error::{ClientError, ErrorGroup};
use crate::flow::{ResultNews, of_task};
use crate::result::ResultDocument;
use crate::server::{ResultSink, Server};
use crate::signal::lock;

/// Bytes of one request for blocks that are put together here.
const WINDOW: u64 = 64 << 20;

/// Bytes that may be fetched in vain with blocks, which are kept for the next part.
const WASTE: u64 = 256 << 10;

/// Things by key within a budget of bytes. What has been used goes first, then what came first: something that was
/// fetched ahead and that nobody has looked at yet is what most likely is needed next.
#[derive(Debug)]
struct Cache<K, V> {
    budget: u64,
    used: u64,
    /// Bytes that nobody has looked at.
    fresh: u64,
    clock: u64,
    entries: HashMap<K, Entry<V>>,
    order: BTreeMap<(bool, u64), K>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    bytes: u64,
    rank: (bool, u64),
}

impl<K: Clone + Eq + Hash, V: Clone> Cache<K, V> {
    fn new(budget: u64) -> Self {
        Self { budget, used: 0, fresh: 0, clock: 0, entries: HashMap::new(), order: BTreeMap::new() }
    }

    fn put(&mut self, key: K, value: V, bytes: u64) {
        self.remove(&key);
        if bytes > self.budget {
            return;
        }
        self.clock += 1;
        let rank = (true, self.clock);
        self.order.insert(rank, key.clone());
        self.entries.insert(key, Entry { value, bytes, rank });
        self.used += bytes;
        self.fresh += bytes;
        while self.used > self.budget
            && let Some((_, key)) = self.order.first_key_value()
        {
            let key = key.clone();
            self.remove(&key);
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.rank);
            self.used -= entry.bytes;
            if entry.rank.0 {
                self.fresh -= entry.bytes;
            }
        }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        self.clock += 1;
        let entry = self.entries.get_mut(key)?;
        self.order.remove(&entry.rank);
        if entry.rank.0 {
            self.fresh -= entry.bytes;
        }
        entry.rank = (false, self.clock);
        self.order.insert(entry.rank, key.clone());
        Some(entry.value.clone())
    }

    fn has(&self, key: &K) -> bool {
        self.entries.contains_key(key)
    }

    /// Whether so many bytes fit beside what nobody has looked at yet.
    const fn has_room(&self, bytes: u64) -> bool {
        self.fresh.saturating_add(bytes) <= self.budget
    }
}

/// A result's document as it is kept: ten thousand of them are small so.
#[derive(Clone, Debug)]
struct Kept {
    json: Arc<[u8]>,
    length: usize,
    diverged: bool,
}

/// Documents and blocks of results.
#[derive(Debug)]
pub(crate) struct ResultCache {
    documents: Mutex<Cache<TaskId, Kept>>,
    blocks: Mutex<Cache<Digest, Bytes>>,
}

impl ResultCache {
    pub(crate) fn new(budget: u64, document_budget: u64) -> Self {
        Self {
            documents: Mutex::new(Cache::new(document_budget)),
            blocks: Mutex::new(Cache::new(budget.saturating_sub(document_budget))),
        }
    }

    fn keep(&self, task: TaskId, json: &str, diverged: bool) {
        let Ok(packed) = zstd::bulk::compress(json.as_bytes(), 1) else { return };
        let bytes = packed.len() as u64;
        let kept = Kept { json: packed.into(), length: json.len(), diverged };
        lock(&self.documents).put(task, kept, bytes + 128);
    }

    fn document(&self, task: &TaskId) -> Option<(Document, bool)> {
        let kept = lock(&self.documents).get(task)?;
        let json = zstd::bulk::decompress(&kept.json, kept.length).ok()?;
        Some((serde_json::from_slice(&json).ok()?, kept.diverged))
    }

    pub(crate) fn forget(&self, task: &TaskId) {
        lock(&self.documents).remove(task);
    }

    fn put_block(&self, digest: Digest, bytes: Bytes) {
        let length = bytes.len() as u64;
        lock(&self.blocks).put(digest, bytes, length + 128);
    }

    fn block(&self, digest: &Digest) -> Option<Bytes> {
        lock(&self.blocks).get(digest)
    }

    /// Those of the blocks that are not here, each once.
    fn lacking(&self, blocks: &[WantedBlock]) -> Vec<WantedBlock> {
        let cache = lock(&self.blocks);
        let mut seen = std::collections::HashSet::new();
        blocks
            .iter()
            .filter(|block| !cache.has(&block.digest) && seen.insert(block.digest))
            .copied()
            .collect()
    }

    fn has_room(&self, bytes: u64) -> bool {
        lock(&self.blocks).has_room(bytes)
    }
}

/// The blocks of an array.
pub(crate) fn blocks_of(array: &ArrayDescriptor) -> impl Iterator<Item = WantedBlock> + '_ {
    array.blocks.iter().map(|digest| wanted(array, digest))
}

/// One of an array's blocks.
pub(crate) fn wanted(array: &ArrayDescriptor, digest: &Digest) -> WantedBlock {
    let width = array.element_type.size().map_or(1, |size| u8::try_from(size).unwrap_or(1));
    WantedBlock { digest: *digest, width }
}

/// What a part of an array is kept under, beside blocks: equal arrays have equal parts.
fn name_of(array: &ArrayDescriptor, ranges: &[Range<u64>]) -> Digest {
    let mut name = format!("part of {} {:?} {:?}", array.digest, array.element_type, array.shape);
    for range in ranges {
        name.push_str(&format!(" {}..{}", range.start, range.end));
    }
    Digest::of(name.as_bytes())
}

/// Whether an array belongs to the simulation within a result, which its user has already.
fn is_echo(path: &str) -> bool {
    path.starts_with("simulation/")
}

/// Fetches the results of these tasks, and tells the flow of each as soon as all that comes with it is here.
pub(crate) async fn fetch_results(
    server: &dyn Server,
    cache: &ResultCache,
    tasks: Vec<TaskId>,
    inline_bytes: u64,
    tell: &(dyn Fn(TaskId, ResultNews) + Send + Sync),
) -> Result<(), ClientError> {
    let request = ResultsRequest { tasks, inline_bytes, compress: true, simulation: false };
    // The blocks of a result follow its document, so it is whole when the next document, or the end, comes.
    let mut open: Option<(TaskId, ResultNews)> = None;
    let mut result = |answer: ResultAnswer| {
        if let Some((task, news)) = open.take() {
            tell(task, news);
        }
        let ResultAnswer { task, outcome } = answer;
        let news = match outcome {
            ResultOutcome::Document { document, inline, diverged } => {
                match serde_json::from_str::<Document>(document.get()) {
                    Ok(parsed) => {
                        cache.keep(task.clone(), document.get(), diverged);
                        let empty = parsed
                            .arrays
                            .iter()
                            .all(|(path, array)| is_echo(path) || array.blocks.is_empty());
                        if inline || empty { ResultNews::Whole } else { ResultNews::DocumentOnly }
                    }
                    Err(error) => ResultNews::Unreadable(unreadable(error)),
                }
            }
            ResultOutcome::Failed { error } => ResultNews::Failed(error),
            ResultOutcome::None { code } => ResultNews::None(code),
            _ => return Ok(()),
        };
        open = Some((task, news));
        Ok(())
    };
    let mut block = |digest, bytes: Bytes| {
        cache.put_block(digest, bytes);
        Ok(())
    };
    let outcome = server.results(&request, &mut ResultSink { result: &mut result, block: &mut block }).await;
    if outcome.is_ok()
        && let Some((task, news)) = open.take()
    {
        tell(task, news);
    }
    outcome
}

/// Fetches the arrays of a result that is here, if there is room; else they are fetched when they are asked for.
pub(crate) async fn fetch_arrays(
    server: &dyn Server,
    cache: &ResultCache,
    task: &TaskId,
) -> Result<(), ClientError> {
    let Some((document, _)) = cache.document(task) else { return Ok(()) };
    let arrays = || document.arrays.iter().filter(|(path, _)| !is_echo(path)).map(|(_, array)| array);
    let bytes = arrays().fold(0_u64, |sum, array| sum.saturating_add(array.byte_length));
    if !cache.has_room(bytes) {
        return Ok(());
    }
    let blocks: Vec<_> = arrays().flat_map(blocks_of).collect();
    fetch_into(server, cache, &blocks).await
}

async fn fetch_into(
    server: &dyn Server,
    cache: &ResultCache,
    blocks: &[WantedBlock],
) -> Result<(), ClientError> {
    let lacking = cache.lacking(blocks);
    for part in lacking.chunks(MAXIMUM_BLOCKS) {
        let take = |digest: Digest, bytes: Bytes| {
            cache.put_block(digest, bytes);
            Ok(())
        };
        server.fetch_blocks(part, &take).await?;
    }
    Ok(())
}

impl Engine {
    /// A result that is in memory.
    pub(crate) fn cached_result(self: &Arc<Self>, task: &TaskId) -> Option<ResultDocument> {
        let (document, diverged) = self.parts.results.document(task)?;
        Some(ResultDocument::new(self.clone(), task.clone(), Arc::new(document), diverged))
    }

    /// A result, in memory or not.
    pub(crate) async fn fetch_result(self: &Arc<Self>, task: &TaskId) -> Result<ResultDocument, ClientError> {
        if let Some(result) = self.cached_result(task) {
            return Ok(result);
        }
        let request = ResultsRequest {
            tasks: vec![task.clone()],
            inline_bytes: self.settings().inline_bytes,
            compress: true,
            simulation: false,
        };
        let cache = &self.parts.results;
        let mut answer = None;
        let mut result = |found: ResultAnswer| {
            answer = Some(found.outcome);
            Ok(())
        };
        let mut block = |digest, bytes: Bytes| {
            cache.put_block(digest, bytes);
            Ok(())
        };
        self.server().results(&request, &mut ResultSink { result: &mut result, block: &mut block }).await?;
        match answer {
            Some(ResultOutcome::Document { document, diverged, .. }) => {
                let parsed = serde_json::from_str(document.get()).map_err(unreadable)?;
                cache.keep(task.clone(), document.get(), diverged);
                Ok(ResultDocument::new(self.clone(), task.clone(), Arc::new(parsed), diverged))
            }
            Some(ResultOutcome::Failed { error }) => Err(of_task(error).task(task.clone())),
            Some(ResultOutcome::None { code }) => {
                let message = "The server has no result of this task.";
                Err(ClientError::new(ErrorGroup::NotFound, code, message).task(task.clone()))
            }
            _ => {
                let message = "The server's answer leaves the result out.";
                Err(ClientError::new(ErrorGroup::Internal, "server.no_answer", message).task(task.clone()))
            }
        }
    }

    pub(crate) fn all_cached(&self, blocks: &[WantedBlock]) -> bool {
        self.parts.results.lacking(blocks).is_empty()
    }

    pub(crate) async fn fetch_into_cache(&self, blocks: Vec<WantedBlock>) -> Result<(), ClientError> {
        fetch_into(&**self.server(), &self.parts.results, &blocks).await
    }

    /// Reads a part of an array: from the blocks that it touches, or, if those that are not here have many more bytes
    /// than the part, as the server cuts it out of them.
    pub(crate) async fn read_part(
        &self,
        task: &TaskId,
        path: &str,
        array: &ArrayDescriptor,
        ranges: &[Range<u64>],
        part: &Part,
    ) -> Result<Vec<u8>, ClientError> {
        if self.server().gives_parts() && part.byte_length <= MAXIMUM_PART {
            let name = name_of(array, ranges);
            if let Some(bytes) = self.parts.results.block(&name) {
                return Ok(bytes.into());
            }
            if self.is_worth_cutting(array, part) {
                let request = PartRequest {
                    task: task.clone(),
                    path: path.to_owned(),
                    ranges: ranges.iter().map(|range| (range.start, range.end)).collect(),
                    compress: true,
                };
                match self.server().fetch_part(&request).await {
                    Ok(bytes) if bytes.len() as u64 == part.byte_length => {
                        self.parts.results.put_block(name, bytes.clone());
                        return Ok(bytes.into());
                    }
                    Ok(_) => {
                        let message = format!("The server sent another part of {path} than was asked for.");
                        return Err(ClientError::new(
                            ErrorGroup::DataCorrupted,
                            "result.other_part",
                            message,
                        ));
                    }
                    // An older server, or the task was deleted: its blocks tell which.
                    Err(error) if error.group == ErrorGroup::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.read_blocks(array, part).await
    }

    /// Whether the blocks that would have to be fetched for a part have many more bytes than it.
    fn is_worth_cutting(&self, array: &ArrayDescriptor, part: &Part) -> bool {
        let mut lacking = 0_u64;
        let enough = part.byte_length.saturating_mul(2).saturating_add(WASTE);
        let cache = lock(&self.parts.results.blocks);
        part.blocks().any(|block| {
            if array.blocks.get(block).is_some_and(|digest| !cache.has(digest)) {
                lacking += array.block_length(block);
            }
            lacking > enough
        })
    }

    /// Reads a part of an array from the blocks that it touches, of which those that are not here are fetched.
    pub(crate) async fn read_blocks(
        &self,
        array: &ArrayDescriptor,
        part: &Part,
    ) -> Result<Vec<u8>, ClientError> {
        let too_large = |_| {
            ClientError::new(ErrorGroup::Usage, "result.too_large", "The array does not fit into memory.")
        };
        let mut bytes = vec![0_u8; usize::try_from(part.byte_length).map_err(too_large)?];
        let touched: Vec<usize> = part.blocks().collect();
        let window = (WINDOW / array.block_bytes().max(1)).clamp(1, MAXIMUM_BLOCKS as u64);
        for group in touched.chunks(usize::try_from(window).unwrap_or(1)) {
            let wanted: Vec<WantedBlock> =
                group.iter().filter_map(|block| Some(wanted(array, array.blocks.get(*block)?))).collect();
            let found = self.blocks(&wanted).await?;
            for (block, wanted) in group.iter().zip(&wanted) {
                let content = found.get(&wanted.digest).ok_or_else(|| missing(&wanted.digest))?;
                part.place(*block, content, &mut bytes).map_err(|_| wrong_length(&wanted.digest))?;
            }
        }
        Ok(bytes)
    }

    /// These blocks, from memory or the server. The caller bounds how many.
    pub(crate) async fn blocks(&self, blocks: &[WantedBlock]) -> Result<HashMap<Digest, Bytes>, ClientError> {
        let cache = &self.parts.results;
        let mut found = HashMap::new();
        for block in blocks {
            if let Some(bytes) = cache.block(&block.digest) {
                found.insert(block.digest, bytes);
            }
        }
        let mut lacking: Vec<WantedBlock> =
            blocks.iter().filter(|block| !found.contains_key(&block.digest)).copied().collect();
        lacking.sort_unstable_by_key(|block| block.digest);
        lacking.dedup_by_key(|block| block.digest);
        let fetched = Mutex::new(&mut found);
        for part in lacking.chunks(MAXIMUM_BLOCKS) {
            let take = |digest: Digest, bytes: Bytes| {
                cache.put_block(digest, bytes.clone());
                cache.block(&digest);
                lock(&fetched).insert(digest, bytes);
                Ok(())
            };
            self.server().fetch_blocks(part, &take).await?;
        }
        Ok(found)
    }
}

fn unreadable(error: serde_json::Error) -> ClientError {
    let message = "The result's document cannot be read.";
    ClientError::new(ErrorGroup::DataCorrupted, "result.unreadable", message).caused_by(error)
}

pub(crate) fn missing(digest: &Digest) -> ClientError {
    let message = format!("The server did not send the block {digest}.");
    ClientError::new(ErrorGroup::DataCorrupted, "result.block_missing", message)
        .hint("The result may have been deleted meanwhile; run the task again.")
}

fn wrong_length(digest: &Digest) -> ClientError {
    let message = format!("The block {digest} has another length than the result says.");
    ClientError::new(ErrorGroup::DataCorrupted, "result.block_length", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_goes_before_what_was_fetched_ahead() {
        let mut cache = Cache::new(30);
        for key in 0..3 {
            cache.put(key, key, 10);
        }
        assert_eq!(cache.get(&1), Some(1));
        assert!(cache.has_room(10) && !cache.has_room(11));
        cache.put(3, 3, 10);
        assert!(cache.has(&0) && !cache.has(&1) && cache.has(&2) && cache.has(&3));
        cache.put(4, 4, 10);
        assert!(!cache.has(&0), "then what came first");
        cache.put(5, 5, 31);
        assert!(!cache.has(&5) && cache.used == 30);
    }
}
