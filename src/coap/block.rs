//! Bodies that arrive in pieces and bodies that leave in pieces, server's side (RFC 7959).

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::random::Keyed;
use super::{Code, Options, Peer, Request, option};
use crate::clock::Instant;

/// The exponent of the largest block, 1024 bytes (RFC 7959 section 2.2).
pub const SIZE_EXPONENT_MAX: u8 = 6;

/// Memory for bodies that are arriving, bytes: so much for all peers in clear, and so much again for
/// all with a session, that invented addresses cannot lock out.
pub const UPLOAD_BYTES_MAX: usize = 1 << 20;

/// Bodies that may be arriving from one peer at once.
pub const UPLOADS_PER_PEER_MAX: usize = 4;

/// An unfinished body is given up after this long without a block (RFC 7959 section 2.4 leaves the
/// choice; this is EXCHANGE_LIFETIME, after which no retransmission can still be on its way).
pub const UPLOAD_LIFETIME: Duration = Duration::from_secs(247);

/// A body that was not touched for this long may be given up for another: longer than a peer that is
/// still there takes to send a block again.
pub const UPLOAD_STALLED: Duration = Duration::from_secs(5);

/// Memory for bodies that are leaving, all peers together, bytes. When one has to go, its reader still
/// gets the rest from the present representation, under the same ETag if it has not changed.
pub const SNAPSHOT_BYTES_MAX: usize = 2 << 20;

/// Bodies that may be leaving to one peer at once.
pub const SNAPSHOTS_PER_PEER_MAX: usize = 8;

/// A snapshot is kept this long after its last block was read: MAX_TRANSMIT_WAIT (RFC 7252 section
/// 4.8.2), the longest a reader takes that loses every message it may.
pub const SNAPSHOT_LIFETIME: Duration = Duration::from_secs(93);

/// The value of a Block1 or Block2 option (RFC 7959 section 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) number: u32,
    pub(super) more: bool,
    /// 0 to 6 for 16 to 1024 bytes.
    pub(super) exponent: u8,
}

/// SZX 7 is reserved over UDP (RFC 7959 section 2.2).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ReservedExponent;

impl Block {
    /// Reads option `number`.
    pub(super) fn read(options: &Options, number: u16) -> Result<Option<Self>, ReservedExponent> {
        options.uint(number).map(Self::from_uint).transpose()
    }

    pub(super) fn from_uint(value: u32) -> Result<Self, ReservedExponent> {
        let exponent = value as u8 & 7;
        if exponent > SIZE_EXPONENT_MAX {
            return Err(ReservedExponent);
        }
        Ok(Self { number: value >> 4, more: value & 8 != 0, exponent })
    }

    pub(super) fn to_uint(self) -> u32 {
        self.number << 4 | u32::from(self.more) << 3 | u32::from(self.exponent)
    }

    /// The block of this size that begins at `offset`.
    pub(super) fn at(offset: usize, exponent: u8, more: bool) -> Self {
        Self { number: (offset >> (exponent + 4)) as u32, more, exponent }
    }

    /// Bytes of a full block.
    pub(super) fn size(self) -> usize {
        16 << self.exponent
    }

    /// Where in the body it begins, bytes.
    pub(super) fn offset(self) -> usize {
        self.number as usize * self.size()
    }
}

/// Names what is asked for: method, target and all options that make a difference to the answer
/// (the cache key of RFC 7252 section 5.6, and RFC 9175 section 3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Asked(u64);

impl Asked {
    pub(super) fn new(keyed: &Keyed, code: Code, options: &Options) -> Self {
        let mut hasher = keyed.build_hasher();
        hasher.write_u8(code.0);
        for (number, value) in options.iter().filter(|(number, _)| distinguishes(*number)) {
            hasher.write_u32(u32::from(number) << 16 | value.len() as u32 & 0xffff);
            hasher.write(value);
        }
        Self(hasher.finish())
    }
}

fn distinguishes(number: u16) -> bool {
    let no_cache_key = number & 0x1e == 0x1c;
    !no_cache_key
        && !matches!(
            number,
            option::BLOCK1
                | option::BLOCK2
                | option::Q_BLOCK2
                | option::OBSERVE
                | option::ETAG
                | option::NO_RESPONSE
        )
}

/// Removes the options that this room deals with by itself.
pub(super) fn strip(options: &mut Options) {
    const OURS: [u16; 8] = [
        option::BLOCK1,
        option::BLOCK2,
        option::Q_BLOCK2,
        option::SIZE1,
        option::SIZE2,
        option::ECHO,
        option::NO_RESPONSE,
        option::REQUEST_TAG,
    ];
    options.retain(|number| !OURS.contains(&number));
}

/// What to do with one more block of a request body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// 2.31 with this block: go on.
    Continue(Block),
    /// The body is whole.
    Whole(Vec<u8>),
    /// It is refused with this code; with 4.13 goes the longest body that we take.
    Refused(Code, &'static str),
}

/// Request bodies that are arriving.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    list: BTreeMap<(Peer, Asked), Upload>,
    /// By the time of their last block.
    order: BTreeMap<(Instant, u64), (Peer, Asked)>,
    bytes: usize,
    serial: u64,
}

#[derive(Debug)]
struct Upload {
    body: Vec<u8>,
    place: (Instant, u64),
}

/// What an upload takes beside its bytes.
const UPLOAD_OVERHEAD: usize = 240;

impl Uploads {
    /// Takes one block.
    pub(super) fn take(
        &mut self,
        key: (Peer, Asked),
        block: Block,
        request: &Request,
        body_bytes_max: usize,
        now: Instant,
    ) -> Arrival {
        let payload = &*request.payload;
        if payload.len() > block.size() || (block.more && payload.len() < block.size()) {
            return Arrival::Refused(Code::BAD_REQUEST, "the block is not of the size it states");
        }
        let announced = request.options.uint(option::SIZE1).unwrap_or_default() as usize;
        if announced.max(block.offset() + payload.len()) > body_bytes_max {
            self.remove(&key);
            return Arrival::Refused(Code::REQUEST_ENTITY_TOO_LARGE, "the body is too long");
        }
        if block.number == 0 {
            self.remove(&key);
            if !block.more {
                return Arrival::Whole(payload.to_vec());
            }
        }
        self.append(key, block, payload, now)
    }

    fn append(
        &mut self,
        key: (Peer, Asked),
        block: Block,
        payload: &[u8],
        now: Instant,
    ) -> Arrival {
        if !self.make_room(key, payload.len() + UPLOAD_OVERHEAD, now) {
            self.remove(&key);
            return Arrival::Refused(Code::SERVICE_UNAVAILABLE, "too many bodies are arriving");
        }
        if block.number == 0 {
            self.bytes += UPLOAD_OVERHEAD;
            self.list.insert(key, Upload { body: Vec::new(), place: (now, 0) });
        }
        let Some(upload) = self.list.get_mut(&key) else {
            return Arrival::Refused(Code::REQUEST_ENTITY_INCOMPLETE, "earlier blocks are missing");
        };
        self.serial += 1;
        self.order.remove(&upload.place);
        upload.place = (now, self.serial);
        self.order.insert(upload.place, key);
        let offset = block.offset();
        if offset == upload.body.len() {
            upload.body.extend_from_slice(payload);
            self.bytes += payload.len();
        } else if upload.body.get(offset..offset + payload.len()) != Some(payload) {
            return Arrival::Refused(Code::REQUEST_ENTITY_INCOMPLETE, "a block is missing");
        }
        if block.more {
            return Arrival::Continue(block);
        }
        let mut body = self.remove(&key).unwrap_or_default();
        body.truncate(offset + payload.len());
        Arrival::Whole(body)
    }

    pub(super) fn drop_peer(&mut self, peer: Peer) {
        let keys: Vec<_> = self.of_peer(peer).collect();
        for key in keys {
            self.remove(&key);
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Room for so many more bytes of this body: what has stalled longest goes first.
    fn make_room(&mut self, key: (Peer, Asked), bytes: usize, now: Instant) -> bool {
        let full = |uploads: &Self| uploads.bytes + bytes > UPLOAD_BYTES_MAX;
        while let Some((place, oldest)) = self.order.first_key_value().map(|(p, k)| (*p, *k)) {
            let age = now - place.0;
            if age < UPLOAD_LIFETIME && (age < UPLOAD_STALLED || !full(self)) {
                break;
            }
            self.remove(&oldest);
        }
        if !self.list.contains_key(&key) && self.of_peer(key.0).count() >= UPLOADS_PER_PEER_MAX {
            let place = |key: &(Peer, Asked)| self.list.get(key).map(|upload| upload.place);
            let Some(oldest) = self.of_peer(key.0).min_by_key(place) else { return false };
            self.remove(&oldest);
        }
        !full(self)
    }

    fn of_peer(&self, peer: Peer) -> impl Iterator<Item = (Peer, Asked)> {
        let range = (peer, Asked(0))..=(peer, Asked(u64::MAX));
        self.list.range(range).map(|(key, _)| *key)
    }

    fn remove(&mut self, key: &(Peer, Asked)) -> Option<Vec<u8>> {
        let upload = self.list.remove(key)?;
        self.order.remove(&upload.place);
        self.bytes -= upload.body.len() + UPLOAD_OVERHEAD;
        Some(upload.body)
    }
}

/// A whole response that is read in blocks; what changes meanwhile does not reach it.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) code: Code,
    /// With an ETag, without blocks.
    pub(super) options: Options,
    pub(super) body: Arc<[u8]>,
}

/// Response bodies that are leaving.
#[derive(Debug)]
pub(super) struct Snapshots {
    list: HashMap<(Peer, Asked), Kept, Keyed>,
    /// By the time they were last read.
    order: BTreeMap<(Instant, u64), (Peer, Asked)>,
    per_peer: HashMap<Peer, Vec<Asked>, Keyed>,
    bytes: usize,
    serial: u64,
    keyed: Keyed,
}

#[derive(Debug)]
struct Kept {
    snapshot: Snapshot,
    place: (Instant, u64),
}

/// What a snapshot takes beside its bytes.
const SNAPSHOT_OVERHEAD: usize = 480;

impl Snapshots {
    pub(super) fn new(keyed: Keyed) -> Self {
        Self {
            list: HashMap::with_hasher(keyed.clone()),
            order: BTreeMap::new(),
            per_peer: HashMap::with_hasher(keyed.clone()),
            bytes: 0,
            serial: 0,
            keyed,
        }
    }

    /// An ETag that another body does not have: a keyed hash of its bytes and its format.
    pub(super) fn etag(&self, options: &Options, body: &[u8]) -> [u8; 8] {
        let mut hasher = self.keyed.build_hasher();
        options.uint(option::CONTENT_FORMAT).hash(&mut hasher);
        body.hash(&mut hasher);
        hasher.finish().to_be_bytes()
    }

    /// Keeps a response for the blocks after the first. It takes the place of what the same reader
    /// began to read before.
    pub(super) fn keep(&mut self, peer: Peer, asked: Asked, snapshot: Snapshot, now: Instant) {
        let peer = reader(peer);
        self.remove(&(peer, asked));
        let of_peer = self.per_peer.entry(peer).or_default();
        let oldest = (of_peer.len() >= SNAPSHOTS_PER_PEER_MAX).then(|| of_peer.first().copied());
        if let Some(oldest) = oldest.flatten() {
            self.remove(&(peer, oldest));
        }
        self.serial += 1;
        let place = (now, self.serial);
        self.bytes += size(&snapshot);
        self.list.insert((peer, asked), Kept { snapshot, place });
        self.order.insert(place, (peer, asked));
        self.per_peer.entry(peer).or_default().push(asked);
        while let Some((place, key)) = self.order.first_key_value().map(|(p, k)| (*p, *k)) {
            if self.bytes <= SNAPSHOT_BYTES_MAX && now - place.0 < SNAPSHOT_LIFETIME {
                break;
            }
            self.remove(&key);
        }
    }

    /// The snapshot that this peer reads.
    pub(super) fn get(&mut self, peer: Peer, asked: Asked, now: Instant) -> Option<Snapshot> {
        let peer = reader(peer);
        let kept = self.list.get_mut(&(peer, asked))?;
        if now - kept.place.0 >= SNAPSHOT_LIFETIME {
            self.remove(&(peer, asked));
            return None;
        }
        self.order.remove(&kept.place);
        kept.place.0 = now;
        self.order.insert(kept.place, (peer, asked));
        Some(kept.snapshot.clone())
    }

    pub(super) fn drop_peer(&mut self, peer: Peer) {
        let peer = reader(peer);
        for asked in self.per_peer.get(&peer).cloned().unwrap_or_default() {
            self.remove(&(peer, asked));
        }
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn remove(&mut self, key: &(Peer, Asked)) {
        let Some(kept) = self.list.remove(key) else { return };
        self.bytes -= size(&kept.snapshot);
        self.order.remove(&kept.place);
        if let Some(of_peer) = self.per_peer.get_mut(&key.0) {
            of_peer.retain(|asked| *asked != key.1);
            if of_peer.is_empty() {
                self.per_peer.remove(&key.0);
            }
        }
    }
}

/// Whoever asks a group gets the first block from another socket than the group's, and asks there for
/// the others: a reader is who it is by whichever of our sockets it came.
fn reader(peer: Peer) -> Peer {
    Peer { socket: 0, ..peer }
}

fn size(snapshot: &Snapshot) -> usize {
    snapshot.body.len() + SNAPSHOT_OVERHEAD
}
