//! Bodies that leave in pieces and bodies that arrive in pieces, client's side (RFC 7959).

use super::block::{Block, SIZE_EXPONENT_MAX};
use super::{Code, Options, option};

/// How often a transfer begins anew because the body changed in the middle, or blocks were lost. A
/// body that changes faster than it can be read is not worth more.
pub const RESTARTS_MAX: u8 = 4;

/// A request body on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Upload {
    /// Bytes that the server has.
    pub(super) offset: usize,
    pub(super) exponent: u8,
}

/// What comes after one more answer to an upload.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum UploadStep {
    /// Send the block at the offset.
    Next,
    /// The server wants the body from the start: smaller blocks, or it lost some.
    Restart,
    /// This is the answer to the whole request.
    Answer,
}

impl Upload {
    /// `None` for a body that fits into one block.
    pub(super) fn new(length: usize) -> Option<Self> {
        let upload = Self { offset: 0, exponent: SIZE_EXPONENT_MAX };
        (length > upload.size()).then_some(upload)
    }

    /// The option for the block that is due, and its bytes.
    pub(super) fn block<'a>(&self, body: &'a [u8]) -> (Block, &'a [u8]) {
        let end = body.len().min(self.offset + self.size());
        let bytes = body.get(self.offset..end).unwrap_or_default();
        (Block::at(self.offset, self.exponent, end < body.len()), bytes)
    }

    /// An answer came to the block that was sent last.
    pub(super) fn answered(&mut self, code: Code, options: &Options, length: usize) -> UploadStep {
        let block = Block::read(options, option::BLOCK1).ok().flatten();
        let exponent = block.map_or(self.exponent, |block| block.exponent.min(self.exponent));
        match code {
            Code::CONTINUE => {
                self.offset = length.min(self.offset + self.size());
                self.exponent = exponent;
                // A server that goes on beyond the end wants an answer that it will never give.
                if self.offset < length { UploadStep::Next } else { UploadStep::Answer }
            }
            Code::REQUEST_ENTITY_TOO_LARGE if exponent < self.exponent => {
                *self = Self { offset: 0, exponent };
                UploadStep::Restart
            }
            Code::REQUEST_ENTITY_INCOMPLETE => {
                self.offset = 0;
                UploadStep::Restart
            }
            _ => UploadStep::Answer,
        }
    }

    fn size(&self) -> usize {
        16 << self.exponent
    }
}

/// A response body on its way in.
#[derive(Debug)]
pub(super) struct Download {
    pub(super) code: Code,
    /// Of the first block.
    pub(super) options: Options,
    /// What has come and was not handed on.
    pub(super) body: Vec<u8>,
    /// Where in the whole `body` begins.
    pub(super) taken: usize,
    pub(super) exponent: u8,
}

/// What comes after one more block.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DownloadStep {
    /// Ask for the block that begins where the body ends.
    Next,
    /// The body is whole.
    Whole,
    /// It is another body now.
    Restart,
    /// It makes no sense.
    Broken(&'static str),
}

impl Download {
    /// Begins with the first block of the body, or at `offset`.
    pub(super) fn new(code: Code, options: &Options, offset: usize) -> Self {
        let options = options.clone();
        Self { code, options, body: Vec::new(), taken: offset, exponent: SIZE_EXPONENT_MAX }
    }

    /// Where the next block begins.
    pub(super) fn end(&self) -> usize {
        self.taken + self.body.len()
    }

    pub(super) fn next(&self) -> Block {
        Block::at(self.end(), self.exponent, false)
    }

    /// The whole, if the server said how long it is.
    pub(super) fn size(&self) -> Option<u32> {
        self.options.uint(option::SIZE2)
    }

    /// Takes one block; `bytes_max` bounds what has come and was not handed on.
    pub(super) fn take(
        &mut self,
        block: Block,
        options: &Options,
        payload: &[u8],
        bytes_max: usize,
    ) -> DownloadStep {
        if options.first(option::ETAG) != self.options.first(option::ETAG) {
            return DownloadStep::Restart;
        }
        if block.offset() != self.end() {
            return DownloadStep::Broken("a block that was not asked for");
        }
        if payload.len() > block.size() || (block.more && payload.len() < block.size()) {
            return DownloadStep::Broken("a block that is not of the size it states");
        }
        if self.body.len() + payload.len() > bytes_max {
            return DownloadStep::Broken("it is longer than we take");
        }
        self.body.extend_from_slice(payload);
        self.exponent = block.exponent;
        if block.more { DownloadStep::Next } else { DownloadStep::Whole }
    }
}
