//! Reading and writing a file by position, on every system: what the standard library has on Unix and on Windows under
//! different names.
//!
//! The position is part of each call, so several threads may use one file. On Windows the file's cursor moves along;
//! nobody here uses it.

use std::fs::File;
use std::io;

/// Fills the buffer from an offset.
///
/// # Errors
/// `UnexpectedEof` if the file ends before; whatever else reading can fail with.
pub fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
    }
    #[cfg(windows)]
    {
        let read = |buffer: &mut [u8], offset| std::os::windows::fs::FileExt::seek_read(file, buffer, offset);
        whole(buffer, offset, read)
    }
}

/// Writes all of the buffer to an offset.
///
/// # Errors
/// Whatever writing can fail with.
pub fn write_all_at(file: &File, buffer: &[u8], offset: u64) -> io::Result<()> {
    #[cfg(unix)]
    {
        std::os::unix::fs::FileExt::write_all_at(file, buffer, offset)
    }
    #[cfg(windows)]
    {
        let (mut rest, mut at) = (buffer, offset);
        while !rest.is_empty() {
            match std::os::windows::fs::FileExt::seek_write(file, rest, at) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => (rest, at) = (rest.get(count..).unwrap_or_default(), at + count as u64),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Calls a read that may give less than was asked for until the buffer is full.
#[cfg(any(windows, test))]
fn whole(
    mut buffer: &mut [u8],
    mut offset: u64,
    read: impl Fn(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    while !buffer.is_empty() {
        match read(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer = buffer.get_mut(count..).unwrap_or_default();
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_at_a_place_is_read_there() {
        let file = tempfile::tempfile().unwrap();
        write_all_at(&file, b"67890", 5).unwrap();
        write_all_at(&file, b"12345", 0).unwrap();
        let mut buffer = [0; 6];
        read_exact_at(&file, &mut buffer, 3).unwrap();
        assert_eq!(&buffer, b"456789");
        let error = read_exact_at(&file, &mut buffer, 5).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        read_exact_at(&file, &mut [], 100).unwrap();
    }

    #[test]
    fn pieces_and_interruptions_make_a_whole() {
        let content: Vec<u8> = (0..100).collect();
        let calls = std::cell::Cell::new(0);
        let read = |buffer: &mut [u8], offset: u64| {
            calls.set(calls.get() + 1);
            if calls.get() % 3 == 0 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let rest = &content[content.len().min(usize::try_from(offset).unwrap())..];
            let count = rest.len().min(buffer.len()).min(7);
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        };
        let mut buffer = [0; 60];
        whole(&mut buffer, 20, read).unwrap();
        assert_eq!(buffer[..], content[20..80]);
        let error = whole(&mut buffer, 50, read).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
