//! Damaged files: whatever happens to the bytes, the answer is a document or an error, soon, within
//! the memory that the limits allow.
//!
//! Real files of the client (`corpus/`) are damaged at random, reproducibly: bits flipped, ends cut
//! off, pieces copied elsewhere, numbers that look like lengths and addresses replaced by nasty ones,
//! mostly where the structures are. What can still be read must survive writing and reading again.
//!
//! `WAVETASK_DAMAGE_FILES` is the number of files, 20,000 unless set.
#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use wavetask_document::{
    ArrayWriter, BLOCK_BYTES, BlockSink, Digest, Document, DocumentError, ElementType, Limits, MemoryBlocks,
    hdf5, unpack,
};

/// Counts what is allocated, to measure the peak of one reading.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(live, Ordering::Relaxed);
        // SAFETY: as required of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as required of the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound.max(1) as u64).unwrap()
    }
}

/// A file to be damaged, and where its structures are.
struct Sample {
    name: String,
    packed: Vec<u8>,
    plain: Vec<u8>,
    structures: Vec<usize>,
}

fn corpus() -> Vec<Sample> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut samples: Vec<Sample> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .map(|path| {
            let packed = std::fs::read(&path).unwrap();
            let mut plain = Vec::new();
            unpack::unpack(&mut packed.as_slice(), &mut plain, &Limits::default()).unwrap();
            // Signatures, object headers' beginnings (version 1, one reference), the superblock.
            let structures = (0..plain.len().saturating_sub(16))
                .filter(|&at| {
                    [b"TREE", b"HEAP", b"SNOD", b"GCOL", b"\x89HDF"]
                        .iter()
                        .any(|sign| plain[at..].starts_with(*sign))
                        || (at % 8 == 0
                            && plain[at..].starts_with(&[1, 0])
                            && plain[at + 4..].starts_with(&[1, 0, 0, 0]))
                })
                .collect();
            Sample {
                name: path.file_name().unwrap().to_string_lossy().into_owned(),
                packed,
                plain,
                structures,
            }
        })
        .collect();
    samples.sort_by(|left, right| left.name.cmp(&right.name));
    samples
}

/// A place to damage: near a structure four times of five.
fn place(random: &mut Random, bytes: &[u8], structures: &[usize]) -> usize {
    if structures.is_empty() || random.below(5) == 0 {
        return random.below(bytes.len());
    }
    (structures[random.below(structures.len())] + random.below(96)).min(bytes.len().saturating_sub(1))
}

fn damage(random: &mut Random, bytes: &mut Vec<u8>, structures: &[usize], other: &[u8]) {
    for _ in 0..=random.below(4) {
        if bytes.len() < 16 {
            return;
        }
        let at = place(random, bytes, structures);
        match random.below(8) {
            0 | 1 => bytes[at] ^= 1 << random.below(8),
            2 => bytes[at] = random.next() as u8,
            3 if random.below(3) == 0 => bytes.truncate(at),
            4 => {
                // Splice a piece of this or another file.
                let length = 1 + random.below(200);
                let piece: Vec<u8> = if random.below(2) == 0 {
                    let from = random.below(bytes.len());
                    bytes[from..(from + length).min(bytes.len())].to_vec()
                } else {
                    let from = random.below(other.len());
                    other[from..(from + length).min(other.len())].to_vec()
                };
                let end = (at + piece.len()).min(bytes.len());
                bytes[at..end].copy_from_slice(&piece[..end - at]);
            }
            _ => {
                // A number where lengths and addresses are.
                let at = if random.below(4) == 0 { at } else { at & !7 };
                let width = [1, 2, 4, 8, 8, 8][random.below(6)];
                let length = bytes.len() as u64;
                let value = match random.below(10) {
                    0 => 0,
                    1 => 1,
                    2 => u64::MAX,
                    3 => u64::from(u32::MAX),
                    4 => 1 << random.below(63),
                    5 => length.wrapping_sub(random.below(64) as u64),
                    6 => length + random.below(64) as u64,
                    7 => structures.get(random.below(structures.len())).map_or(8, |&at| at as u64),
                    8 => random.below(bytes.len()) as u64 & !7,
                    _ => random.next(),
                };
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&value.to_le_bytes()[..end - at]);
            }
        }
    }
}

/// Small, so that exceeding them is a real possibility.
fn limits() -> Limits {
    Limits {
        file_bytes: 8 << 20,
        inflation_ratio: 50,
        inflation_floor: 4 << 20,
        json_bytes: 1 << 20,
        objects: 2000,
        path_bytes: 1 << 18,
        array_bytes: 4 << 20,
        text_bytes: 1 << 18,
        working_bytes: 1 << 20,
        block_bytes: 1 << 12,
        ..Limits::default()
    }
}
/// What the limits above may add up to: the unpacked file in memory, the JSON twice, a piece of
/// elements, the rest.
const MEMORY: usize = 8 << 20;
/// For one file, on a slow and busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// Names blocks and forgets them.
struct Forgetful;

impl BlockSink for Forgetful {
    fn put(&mut self, bytes: &[u8]) -> std::io::Result<Digest> {
        Ok(Digest::of(bytes))
    }
}

fn read(bytes: &[u8], packed: bool, sink: &mut dyn BlockSink) -> Result<Document, DocumentError> {
    if packed {
        let mut plain = Vec::new();
        unpack::unpack(&mut &*bytes, &mut plain, &limits())?;
        return hdf5::read(&plain, &limits(), sink);
    }
    hdf5::read(&bytes, &limits(), sink)
}

/// Only one measurement at a time.
static MEASURING: Mutex<()> = Mutex::new(());

#[test]
fn large_arrays_take_little_memory() {
    const BYTES: u64 = 128 << 20;
    let _alone = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut blocks = MemoryBlocks::new();
    // Big-endian or filtered arrays would be converted piece by piece; this is the client's own kind.
    let mut writer = ArrayWriter::new(ElementType::Complex128, vec![BYTES / 16], BLOCK_BYTES, &mut blocks);
    let piece = vec![0x5a; 1 << 16];
    for _ in 0..BYTES / piece.len() as u64 {
        writer.write(&piece).unwrap();
    }
    let array = writer.finish().unwrap();
    assert_eq!((array.blocks.len() as u64, blocks.len()), (BYTES / BLOCK_BYTES, 1), "equal blocks are one");
    let document =
        Document { json: r#"{"type":"Large"}"#.into(), arrays: [("values".to_owned(), array)].into() };

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.hdf5");
    let measure = |what: &str, work: &mut dyn FnMut()| {
        let live = LIVE.load(Ordering::Relaxed);
        PEAK.store(live, Ordering::Relaxed);
        let start = Instant::now();
        work();
        let peak = PEAK.load(Ordering::Relaxed) - live;
        println!("{what} {BYTES} bytes in {:?} with {} kB", start.elapsed(), peak / 1000);
        assert!(peak < 4 << 20, "{what} took {peak} bytes of memory");
    };
    measure("wrote", &mut || hdf5::write(&document, &blocks, &mut File::create(&path).unwrap()).unwrap());
    measure("read", &mut || {
        let file = unpack::open(&path, folder.path(), &Limits::default()).unwrap();
        assert_eq!(hdf5::read_file(&file, &Limits::default(), &mut Forgetful).unwrap(), document);
    });
}

#[test]
fn damaged_files_give_an_answer() {
    let _alone = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
    let count: u64 =
        std::env::var("WAVETASK_DAMAGE_FILES").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let samples = corpus();
    assert!(samples.len() > 5);
    for sample in &samples {
        read(&sample.packed, true, &mut MemoryBlocks::new())
            .unwrap_or_else(|error| panic!("{}: {error}", sample.name));
        assert!(sample.structures.len() > 10);
    }
    let (mut readable, mut malformed, mut large, mut unsupported) = (0, 0, 0, 0);
    let (mut slowest, mut hungriest) = (Duration::ZERO, 0);
    let begin = Instant::now();
    for seed in 0..count {
        let mut random = Random(seed);
        let sample = &samples[random.below(samples.len())];
        let other = &samples[random.below(samples.len())].plain;
        let packed = random.below(10) == 0;
        let mut bytes = if packed { sample.packed.clone() } else { sample.plain.clone() };
        damage(&mut random, &mut bytes, if packed { &[] } else { &sample.structures }, other);

        let live = LIVE.load(Ordering::Relaxed);
        PEAK.store(live, Ordering::Relaxed);
        let start = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(|| read(&bytes, packed, &mut Forgetful)));
        slowest = slowest.max(start.elapsed());
        hungriest = hungriest.max(PEAK.load(Ordering::Relaxed) - live);
        assert!(slowest < PATIENCE, "seed {seed} of {} took {slowest:?}", sample.name);
        assert!(hungriest < MEMORY, "seed {seed} of {} took {hungriest} bytes", sample.name);
        match outcome.unwrap_or_else(|_| panic!("seed {seed} of {} panicked", sample.name)) {
            Ok(document) => {
                readable += 1;
                survive(&bytes, packed, &document, seed);
            }
            Err(DocumentError::Malformed { .. }) => malformed += 1,
            Err(DocumentError::TooLarge { .. }) => large += 1,
            Err(DocumentError::Unsupported { .. }) => unsupported += 1,
            Err(error) => panic!("seed {seed} of {}: {error}", sample.name),
        }
    }
    println!(
        "{count} damaged files in {:?}: {readable} still readable, {malformed} malformed, {large} too large, \
         {unsupported} not supported; slowest {slowest:?}, peak memory {} kB",
        begin.elapsed(),
        hungriest / 1000
    );
    assert!(malformed > 0 && unsupported > 0, "the damage reaches the structures");
}

/// What was read is read again after writing.
fn survive(bytes: &[u8], packed: bool, document: &Document, seed: u64) {
    let mut blocks = MemoryBlocks::new();
    assert_eq!(read(bytes, packed, &mut blocks).unwrap(), *document);
    let mut file = Vec::new();
    match hdf5::write(document, &blocks, &mut file) {
        Ok(()) => {}
        // A damaged string coordinate may have a zero character, which the client cannot have written.
        Err(DocumentError::Unsupported { .. }) => return,
        Err(error) => panic!("seed {seed}: writing: {error}"),
    }
    let again = hdf5::read(&file, &Limits { file_bytes: u64::MAX, ..limits() }, &mut Forgetful)
        .unwrap_or_else(|error| panic!("seed {seed}: reading again: {error}"));
    assert_eq!(again, *document, "seed {seed}");
}
