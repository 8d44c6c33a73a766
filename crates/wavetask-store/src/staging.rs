//! Uploaded files between their arrival and their validation.
//!
//! A file is written under a random name (its token), made durable, and then noted in the task store; from
//! that moment it counts. A file without a note is a leftover of a crash and is removed at the next start.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Result, StoreError};
use crate::faults::{DiskOperation, Faults};
use crate::folder::{DataFolder, check_free_space, create_private_directory, sync_directory};
use crate::task_store::TaskStore;

/// The folder of uploaded files.
#[derive(Clone, Debug)]
pub struct StagingArea {
    directory: PathBuf,
    reserve: u64,
    faults: Faults,
    _folder: DataFolder,
}

impl StagingArea {
    /// Opens the staging area of a data folder. Writes fail with `NoSpace` when less than `reserve` bytes
    /// would be left on the disk.
    ///
    /// # Errors
    /// If the directory cannot be made.
    pub fn open(folder: &DataFolder, reserve: u64, faults: Faults) -> Result<Self> {
        let directory = folder.staging_path();
        create_private_directory(&directory)?;
        Ok(Self { directory, reserve, faults, _folder: folder.clone() })
    }

    /// Refuses if `byte_length` more bytes would eat into the reserve.
    ///
    /// # Errors
    /// `NoSpace`.
    pub fn check_space(&self, byte_length: u64) -> Result<()> {
        check_free_space(&self.directory, byte_length, self.reserve)
            .map_err(|error| StoreError::from_io("store an uploaded file", error))
    }

    /// Begins a new file. It vanishes again unless it is [finished](StagingFile::finish).
    ///
    /// # Errors
    /// `NoSpace` and others.
    pub fn create(&self) -> Result<StagingFile> {
        self.check_space(0)?;
        let token = uuid::Uuid::new_v4().simple().to_string();
        let path = self.directory.join(&token);
        let opened = self.faults.check(DiskOperation::Create, &path).and_then(|()| {
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)
        });
        let file = opened.map_err(|error| StoreError::from_io("store an uploaded file", error))?;
        Ok(StagingFile { area: self.clone(), path, token, file, byte_length: 0, unchecked: 0, kept: false })
    }

    /// Opens a finished file for reading.
    ///
    /// # Errors
    /// `NotFound` if there is none of this token.
    pub fn open_file(&self, token: &str) -> Result<File> {
        File::open(self.path(token)?).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => StoreError::NotFound("uploaded file"),
            _ => StoreError::from_io("read an uploaded file", error),
        })
    }

    /// Where the file of this token is.
    ///
    /// # Errors
    /// `NotFound` if it cannot be a token: then it must not become part of a path.
    pub fn path(&self, token: &str) -> Result<PathBuf> {
        if token.len() == 32 && token.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(self.directory.join(token))
        } else {
            Err(StoreError::NotFound("uploaded file"))
        }
    }

    /// Removes a file; one that is gone already is fine.
    ///
    /// # Errors
    /// What the disk says.
    pub fn remove(&self, token: &str) -> Result<()> {
        let path = self.path(token)?;
        let removed = self.faults.check(DiskOperation::Remove, &path).and_then(|()| fs::remove_file(&path));
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::from_io("remove an uploaded file", error))
            }
            _ => Ok(()),
        }
    }

    /// Puts the parts of a multipart upload together in a new file.
    ///
    /// # Errors
    /// `NoSpace`; `NotFound` if a part is gone.
    pub fn concatenate(&self, tokens: &[String]) -> Result<StagingFile> {
        let failed = |error| StoreError::from_io("put an uploaded file together", error);
        let mut whole = self.create()?;
        for token in tokens {
            let mut part = self.open_file(token)?;
            let length = part.metadata().map_err(failed)?.len();
            self.check_space(length)?;
            self.faults.check(DiskOperation::Write, &whole.path).map_err(failed)?;
            // The standard library lets the kernel copy between files, without a way through memory.
            let copied = io::copy(&mut part, &mut whole.file).map_err(failed)?;
            if copied != length {
                return Err(failed(io::ErrorKind::UnexpectedEof.into()));
            }
            whole.byte_length += copied;
        }
        Ok(whole)
    }

    /// Removes the files that the store does not know. To be called at the start, while nothing is being
    /// uploaded. Answers with their number.
    ///
    /// # Errors
    /// What the disk or the store says.
    pub fn remove_leftovers(&self, store: &dyn TaskStore) -> Result<u64> {
        let failed = |error| StoreError::from_io("clean the staging folder", error);
        let mut removed = 0;
        let mut tokens = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(failed)? {
            if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
                tokens.push(name);
            }
        }
        for tokens in tokens.chunks(500) {
            for token in store.unused_tokens(tokens)? {
                if self.remove(&token).is_ok() {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// Removes the files of deleted tasks. Answers with their number.
    ///
    /// # Errors
    /// What the disk or the store says.
    pub fn remove_released(&self, store: &dyn TaskStore) -> Result<u64> {
        let mut removed = 0;
        loop {
            let tokens = store.released_tokens(500)?;
            if tokens.is_empty() {
                return Ok(removed);
            }
            for token in &tokens {
                self.remove(token)?;
                removed += 1;
            }
            store.forget_released_tokens(&tokens)?;
        }
    }
}

/// A file that is being received.
#[derive(Debug)]
pub struct StagingFile {
    area: StagingArea,
    path: PathBuf,
    token: String,
    file: File,
    byte_length: u64,
    unchecked: u64,
    kept: bool,
}

/// How many bytes are written between two looks at the free space.
const CHECK_EVERY: u64 = 8 << 20;

impl StagingFile {
    /// The name to note in the task store.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of bytes written so far.
    pub const fn byte_length(&self) -> u64 {
        self.byte_length
    }

    /// Makes the file durable and keeps it. Answers with its token and its length.
    ///
    /// # Errors
    /// `NoSpace` and others; then the file is gone.
    pub fn finish(mut self) -> Result<(String, u64)> {
        let faults = &self.area.faults;
        let durable = faults
            .check(DiskOperation::SyncFile, &self.path)
            .and_then(|()| self.file.sync_all())
            .and_then(|()| faults.check(DiskOperation::SyncDirectory, &self.area.directory))
            .and_then(|()| sync_directory(&self.area.directory));
        durable.map_err(|error| StoreError::from_io("store an uploaded file", error))?;
        self.kept = true;
        Ok((std::mem::take(&mut self.token), self.byte_length))
    }
}

impl Write for StagingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unchecked == 0 {
            check_free_space(&self.area.directory, CHECK_EVERY.max(bytes.len() as u64), self.area.reserve)?;
        }
        self.area.faults.check(DiskOperation::Write, &self.path)?;
        let written = self.file.write(bytes)?;
        self.byte_length += written as u64;
        self.unchecked += written as u64;
        if self.unchecked >= CHECK_EVERY {
            self.unchecked = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for StagingFile {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}
