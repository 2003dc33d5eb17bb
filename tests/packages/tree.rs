//! An envelope as a tree that knows its own structure: byte strings that hold CBOR are branches. A
//! mutation of the tree reaches places that random bytes never reach.

/// One CBOR item.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Uint(u64),
    Nint(u64),
    Bytes(Vec<u8>),
    /// A byte string with CBOR in it.
    Wrapped(Box<Node>),
    Text(Vec<u8>),
    Array(Vec<Node>),
    Map(Vec<(Node, Node)>),
    Tag(u64, Box<Node>),
    Simple(u8),
    /// Anything, as it is.
    Raw(Vec<u8>),
}

impl Node {
    /// Reads good CBOR; panics on anything else.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let (node, rest) = read(bytes, DEPTH_MAX).unwrap();
        assert!(rest.is_empty());
        node
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![];
        self.write(&mut bytes);
        bytes
    }

    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Self::Uint(value) => head(to, 0, *value),
            Self::Nint(value) => head(to, 1, *value),
            Self::Bytes(bytes) => string(to, 2, bytes),
            Self::Wrapped(node) => string(to, 2, &node.encode()),
            Self::Text(bytes) => string(to, 3, bytes),
            Self::Array(items) => {
                head(to, 4, items.len() as u64);
                items.iter().for_each(|item| item.write(to));
            }
            Self::Map(entries) => {
                head(to, 5, entries.len() as u64);
                entries.iter().for_each(|(key, value)| {
                    key.write(to);
                    value.write(to);
                });
            }
            Self::Tag(tag, node) => {
                head(to, 6, *tag);
                node.write(to);
            }
            Self::Simple(value) => to.push(0xe0 | value),
            Self::Raw(bytes) => to.extend_from_slice(bytes),
        }
    }

    /// All nodes below this one, itself included.
    pub(crate) fn count(&self) -> usize {
        1 + self.children().map(Self::count).sum::<usize>()
    }

    pub(crate) fn children(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        match self {
            Self::Wrapped(node) | Self::Tag(_, node) => Box::new(std::iter::once(&**node)),
            Self::Array(items) => Box::new(items.iter()),
            Self::Map(entries) => Box::new(entries.iter().flat_map(|(key, value)| [key, value])),
            _ => Box::new(std::iter::empty()),
        }
    }

    /// The n-th node, depth first.
    pub(crate) fn nth(&mut self, n: &mut usize) -> Option<&mut Self> {
        if *n == 0 {
            return Some(self);
        }
        *n -= 1;
        match self {
            Self::Wrapped(node) | Self::Tag(_, node) => node.nth(n),
            Self::Array(items) => items.iter_mut().find_map(|item| item.nth(n)),
            Self::Map(entries) => {
                entries.iter_mut().find_map(|(key, value)| key.nth(n).or_else(|| value.nth(n)))
            }
            _ => None,
        }
    }
}

fn string(to: &mut Vec<u8>, major: u8, bytes: &[u8]) {
    head(to, major, bytes.len() as u64);
    to.extend_from_slice(bytes);
}

fn head(to: &mut Vec<u8>, major: u8, argument: u64) {
    let bytes = argument.to_be_bytes();
    let (information, length) = match argument {
        0..24 => (bytes[7], 0),
        24..=0xff => (24, 1),
        0x100..=0xffff => (25, 2),
        0x1_0000..=0xffff_ffff => (26, 4),
        _ => (27, 8),
    };
    to.push(major << 5 | information);
    to.extend_from_slice(&bytes[8 - length..]);
}

/// Deeper than any envelope; what is deeper stays a byte string.
const DEPTH_MAX: usize = 64;

fn read(bytes: &[u8], depth: usize) -> Option<(Node, &[u8])> {
    let depth = depth.checked_sub(1)?;
    let (first, mut rest) = bytes.split_first()?;
    let length = match first & 0x1f {
        0..24 => 0,
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    let mut argument = u64::from(first & 0x1f);
    if length > 0 {
        let (bytes, after) = rest.split_at_checked(length)?;
        argument = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        rest = after;
    }
    let mut items = |count: u64| {
        let mut items = vec![];
        for _ in 0..count {
            let (item, after) = read(rest, depth)?;
            items.push(item);
            rest = after;
        }
        Some((items, rest))
    };
    Some(match first >> 5 {
        0 => (Node::Uint(argument), rest),
        1 => (Node::Nint(argument), rest),
        major @ (2 | 3) => {
            let (content, rest) = rest.split_at_checked(argument.try_into().ok()?)?;
            (
                if major == 3 { Node::Text(content.to_vec()) } else { unwrapped(content, depth) },
                rest,
            )
        }
        4 => {
            let (items, rest) = items(argument)?;
            (Node::Array(items), rest)
        }
        5 => {
            let (mut items, rest) = items(argument.checked_mul(2)?)?;
            let mut entries = vec![];
            while items.len() >= 2 {
                let value = items.pop()?;
                entries.push((items.pop()?, value));
            }
            entries.reverse();
            (Node::Map(entries), rest)
        }
        6 => {
            let (node, rest) = read(rest, depth)?;
            (Node::Tag(argument, Box::new(node)), rest)
        }
        _ => (Node::Simple(argument.try_into().ok()?), rest),
    })
}

/// Only what is clearly meant as CBOR: arrays, maps and tags that end where the string ends.
fn unwrapped(content: &[u8], depth: usize) -> Node {
    match read(content, depth) {
        Some((node @ (Node::Array(_) | Node::Map(_) | Node::Tag(..)), [])) => {
            Node::Wrapped(Box::new(node))
        }
        _ => Node::Bytes(content.to_vec()),
    }
}

#[test]
fn every_good_envelope_is_a_tree() {
    for good in crate::corpus::corpus() {
        let mut tree = Node::read(&good.envelope);
        assert_eq!(tree.encode(), good.envelope, "{}", good.name);
        let nodes = tree.count();
        assert!(nodes > 50);
        assert!(tree.nth(&mut (nodes - 1)).is_some() && tree.nth(&mut { nodes }).is_none());
    }
}
