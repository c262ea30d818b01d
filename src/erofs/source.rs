//! Where an image's bytes come from when it is read.

use std::io;

/// Bytes that can be read at any offset.
pub trait ReadAt {
    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// What the source returns; fewer bytes than asked for.
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;

    /// Number of bytes.
    ///
    /// # Errors
    /// What the source returns.
    fn size(&self) -> io::Result<u64>;
}

impl ReadAt for [u8] {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let part = usize::try_from(offset)
            .ok()
            .and_then(|from| self.get(from..)?.get(..buffer.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(part);
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl ReadAt for Vec<u8> {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.as_slice().read_exact_at(offset, buffer)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }
}

impl ReadAt for std::fs::File {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, buffer, offset)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        (**self).read_exact_at(offset, buffer)
    }

    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }
}

/// A part of a source: an image in a partition of a disk.
#[derive(Debug, Clone)]
pub struct Part<T> {
    inner: T,
    offset: u64,
    len: u64,
}

impl<T: ReadAt> Part<T> {
    /// `len` bytes of `inner` from `offset` on.
    pub const fn new(inner: T, offset: u64, len: u64) -> Self {
        Self { inner, offset, len }
    }
}

impl Part<std::fs::File> {
    /// The same part through another handle of the same file.
    ///
    /// # Errors
    /// The process has no handle left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            inner: self.inner.try_clone()?,
            ..*self
        })
    }
}

impl<T: ReadAt> ReadAt for Part<T> {
    fn read_exact_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let at = self
            .offset
            .checked_add(offset)
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        self.inner.read_exact_at(at, buffer)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_ends_where_it_ends() {
        let bytes = b"0123456789".to_vec();
        let part = Part::new(&bytes, 2, 5);
        let mut buffer = [0; 3];
        part.read_exact_at(2, &mut buffer).unwrap();
        assert_eq!(&buffer, b"456");
        part.read_exact_at(3, &mut buffer).unwrap_err();
        part.read_exact_at(u64::MAX, &mut buffer).unwrap_err();
        assert_eq!(part.size().unwrap(), 5);
    }
}
