//! This room keeps the bytes of packages: uploads that can be resumed gather in a staging directory, and
//! what is whole and has the digest that was promised goes to an object store. It knows neither
//! packages nor who may; names are given to it.

use std::collections::HashMap;
use std::io::SeekFrom;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use object_store::buffered::BufWriter;
use object_store::local::LocalFileSystem;
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use tokio::fs::{self, File};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

/// Bytes read at once when a whole file is looked at.
const CHUNK: usize = 256 * 1024;

/// Where bytes are.
#[derive(Clone, Debug)]
pub struct Blobs {
    objects: Arc<dyn ObjectStore>,
    staging: PathBuf,
    busy: Arc<Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>>,
}

/// What a whole file must be, as far as somebody said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Promise {
    /// Bytes.
    pub size: Option<u64>,
    /// SHA-256, in lower-case hexadecimal.
    pub sha256: Option<String>,
    /// SHA-1, in lower-case hexadecimal.
    pub sha1: Option<String>,
}

/// A file that is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where it is; [`Blobs::read`] takes it.
    pub blob: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, in lower-case hexadecimal.
    pub sha256: String,
    /// Whether a promised SHA-1 was the right one.
    pub sha1: Option<String>,
}

/// Why bytes are not kept, or not given.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// An upload goes on where it was left, and nowhere else.
    #[error("the upload stands at byte {0}; go on there")]
    Offset(u64),
    /// Not what was promised.
    #[error("the {what} of what arrived is {found}, not {expected}; nothing of it was kept")]
    Broken {
        /// Which promise.
        what: &'static str,
        /// What was promised.
        expected: String,
        /// What arrived.
        found: String,
    },
    /// More than was allowed.
    #[error("a file has at most {0} bytes; nothing of it was kept")]
    TooLarge(u64),
    /// The sender went away; what arrived is kept, and the upload can go on.
    #[error("the upload broke off at byte {0}; go on there")]
    BrokeOff(u64),
    /// There is nothing of the name.
    #[error("these bytes are not here")]
    Missing,
    /// No room.
    #[error("the disk for packages is full")]
    Full,
    /// The disk or the object store does not work.
    #[error("the store of packages does not work: {0}")]
    Away(String),
}

impl From<std::io::Error> for BlobError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Self::Full,
            std::io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Away(error.to_string()),
        }
    }
}

impl From<object_store::Error> for BlobError {
    fn from(error: object_store::Error) -> Self {
        if matches!(error, object_store::Error::NotFound { .. }) {
            return Self::Missing;
        }
        let text = error.to_string();
        if text.contains("No space left") { Self::Full } else { Self::Away(text) }
    }
}

impl Blobs {
    /// Keeps bytes in a directory, made when it is not there.
    ///
    /// # Errors
    ///
    /// It cannot be made or written to.
    pub async fn directory(dir: &Path) -> Result<Self, BlobError> {
        let (objects, staging) = (dir.join("objects"), dir.join("staging"));
        fs::create_dir_all(&objects).await?;
        fs::create_dir_all(&staging).await?;
        let objects = LocalFileSystem::new_with_prefix(objects)?.with_fsync(true);
        Ok(Self { objects: Arc::new(objects), staging, busy: Arc::default() })
    }

    /// How far an upload is: `None` when nothing of it is here.
    ///
    /// # Errors
    ///
    /// The disk does not work.
    pub async fn offset(&self, upload: &str) -> Result<Option<u64>, BlobError> {
        match fs::metadata(self.part(upload)).await {
            Ok(found) => Ok(Some(found.len())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Puts bytes behind those that are here, which must be `offset`. What arrived before a sender
    /// went away is kept. Gives how far the upload is then; it is on disk.
    ///
    /// # Errors
    ///
    /// The offset is another one, the file is too large, or the disk does not work.
    pub async fn append<E>(
        &self,
        upload: &str,
        offset: u64,
        most: u64,
        mut bytes: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<u64, BlobError> {
        let turn = self.turn(upload);
        let _turn = turn.lock().await;
        let path = self.part(upload);
        let mut file = File::options().create(true).truncate(false).write(true).open(&path).await?;
        let mut at = file.seek(SeekFrom::End(0)).await?;
        if at != offset {
            return Err(BlobError::Offset(at));
        }
        let mut whole = true;
        while let Some(chunk) = bytes.next().await {
            let Ok(chunk) = chunk else {
                whole = false;
                break;
            };
            at += chunk.len() as u64;
            if at > most {
                drop(file);
                fs::remove_file(&path).await?;
                return Err(BlobError::TooLarge(most));
            }
            file.write_all(&chunk).await?;
        }
        file.flush().await?;
        file.sync_all().await?;
        if whole { Ok(at) } else { Err(BlobError::BrokeOff(at)) }
    }

    /// Ends an upload: what has the promised size and digests goes to the object store, anything else
    /// is thrown away.
    ///
    /// # Errors
    ///
    /// A promise was broken, or the disk does not work.
    pub async fn finish(
        &self,
        upload: &str,
        blob: &str,
        promise: &Promise,
    ) -> Result<Kept, BlobError> {
        let turn = self.turn(upload);
        let _turn = turn.lock().await;
        let path = self.part(upload);
        let (size, sha256, sha1) = digests(&path).await?;
        let promised = [
            ("size", promise.size.map(|size| size.to_string()), size.to_string()),
            ("SHA-256", promise.sha256.clone(), sha256.clone()),
            ("SHA-1", promise.sha1.clone(), sha1),
        ];
        for (what, expected, found) in promised {
            if let Some(expected) = expected.filter(|expected| *expected != found) {
                fs::remove_file(&path).await?;
                return Err(BlobError::Broken { what, expected, found });
            }
        }
        let mut from = File::open(&path).await?;
        let mut to = BufWriter::new(self.objects.clone(), blob.into());
        let mut chunk = vec![0; CHUNK];
        let copied = async {
            loop {
                match from.read(&mut chunk).await? {
                    0 => return to.shutdown().await,
                    read => to.write_all(&chunk[..read]).await?,
                }
            }
        };
        if let Err(error) = copied.await {
            let _ = to.abort().await;
            return Err(error.into());
        }
        fs::remove_file(&path).await?;
        Ok(Kept { blob: blob.to_owned(), size, sha256, sha1: promise.sha1.clone() })
    }

    /// Forgets an upload that is not finished.
    ///
    /// # Errors
    ///
    /// The disk does not work.
    pub async fn forget(&self, upload: &str) -> Result<(), BlobError> {
        let turn = self.turn(upload);
        let _turn = turn.lock().await;
        match fs::remove_file(self.part(upload)).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// The bytes of a blob, as they come from the store.
    ///
    /// # Errors
    ///
    /// They are not there, or the store does not work.
    pub async fn read(
        &self,
        blob: &str,
        range: Range<u64>,
    ) -> Result<impl Stream<Item = Result<Bytes, BlobError>> + Send + 'static, BlobError> {
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let got = self.objects.get_opts(&blob.into(), options).await?;
        Ok(got.into_stream().map(|chunk| chunk.map_err(BlobError::from)))
    }

    /// Throws a blob away.
    ///
    /// # Errors
    ///
    /// The store does not work.
    pub async fn remove(&self, blob: &str) -> Result<(), BlobError> {
        match self.objects.delete(&blob.into()).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// The names of all blobs, with when each was written, in milliseconds since 1970.
    ///
    /// # Errors
    ///
    /// The store does not work.
    pub async fn all(&self) -> Result<Vec<(String, i64)>, BlobError> {
        let mut listed = self.objects.list(None);
        let mut all = vec![];
        while let Some(found) = listed.next().await {
            let found = found?;
            all.push((found.location.to_string(), found.last_modified.timestamp_millis()));
        }
        all.sort();
        Ok(all)
    }

    fn part(&self, upload: &str) -> PathBuf {
        // A digest of the name: no name can lead out of the directory.
        let digest = ring::digest::digest(&SHA256, upload.as_bytes());
        self.staging.join(format!("{}.part", hex(digest.as_ref())))
    }

    /// One at a time for each upload.
    fn turn(&self, upload: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut busy = self.busy.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        busy.retain(|_, turn| Arc::strong_count(turn) > 1);
        busy.entry(upload.to_owned()).or_default().clone()
    }
}

/// Size, SHA-256 and SHA-1 of a file.
async fn digests(path: &Path) -> Result<(u64, String, String), BlobError> {
    let mut file = File::open(path).await?;
    let (mut sha256, mut sha1) = (Context::new(&SHA256), Context::new(&SHA1_FOR_LEGACY_USE_ONLY));
    let (mut size, mut chunk) = (0, vec![0; CHUNK]);
    loop {
        let read = file.read(&mut chunk).await?;
        if read == 0 {
            return Ok((size, hex(sha256.finish().as_ref()), hex(sha1.finish().as_ref())));
        }
        sha256.update(&chunk[..read]);
        sha1.update(&chunk[..read]);
        size += read as u64;
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::stream;

    fn bytes(parts: &[&'static str]) -> impl Stream<Item = Result<Bytes, ()>> + Unpin {
        stream::iter(parts.iter().map(|part| Ok(Bytes::from(*part))).collect::<Vec<_>>())
    }

    #[tokio::test]
    async fn an_upload_goes_on_where_it_was_left_and_nowhere_else() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::directory(dir.path()).await.unwrap();
        assert_eq!(blobs.offset("../u").await.unwrap(), None);
        let broken = stream::iter(vec![Ok(Bytes::from("hel")), Err(())]);
        let broke_off = blobs.append("../u", 0, 100, broken).await.unwrap_err();
        assert!(matches!(broke_off, BlobError::BrokeOff(3)));
        let elsewhere = blobs.append("../u", 2, 100, bytes(&["lo"])).await.unwrap_err();
        assert!(matches!(elsewhere, BlobError::Offset(3)));
        assert_eq!(blobs.append("../u", 3, 100, bytes(&["l", "o"])).await.unwrap(), 5);
        let promise = Promise {
            size: Some(5),
            sha256: Some("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824".into()),
            sha1: Some("aaf4c61ddcc5e8a2dabede0f3b482cd9aea9434d".into()),
        };
        let kept = blobs.finish("../u", "1/x", &promise).await.unwrap();
        assert_eq!((kept.size, blobs.offset("../u").await.unwrap()), (5, None));
        let read: Vec<_> = blobs.read("1/x", 1..4).await.unwrap().collect().await;
        let read: Vec<u8> = read.into_iter().flat_map(Result::unwrap).collect();
        assert_eq!(read, b"ell");
        blobs.remove("1/x").await.unwrap();
        assert!(matches!(blobs.read("1/x", 0..5).await.err(), Some(BlobError::Missing)));
        assert!(blobs.all().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn nothing_is_left_of_what_broke_its_promise_or_is_too_large() {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Blobs::directory(dir.path()).await.unwrap();
        for promise in [
            Promise { size: Some(6), ..Promise::default() },
            Promise { sha256: Some("00".into()), ..Promise::default() },
            Promise { sha1: Some("00".into()), ..Promise::default() },
        ] {
            blobs.append("u", 0, 100, bytes(&["hello"])).await.unwrap();
            let broken = blobs.finish("u", "1/x", &promise).await.unwrap_err();
            assert!(matches!(broken, BlobError::Broken { .. }), "{broken}");
            assert_eq!(blobs.offset("u").await.unwrap(), None);
        }
        let large = blobs.append("u", 0, 4, bytes(&["hello"])).await.unwrap_err();
        assert!(matches!(large, BlobError::TooLarge(4)));
        assert_eq!(blobs.offset("u").await.unwrap(), None);
        assert!(blobs.all().await.unwrap().is_empty());
    }
}
