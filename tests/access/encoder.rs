//! CBOR as IoTivity-Lite writes it: maps and arrays of indefinite length, members in any order.

/// A value to be sent.
#[derive(Clone, Debug)]
pub(crate) enum Cbor {
    Int(i64),
    Bool(bool),
    Text(String),
    Bytes(Vec<u8>),
    Array(Vec<Cbor>),
    Map(Vec<(&'static str, Cbor)>),
}

impl Cbor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![];
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Int(n @ 0..) => head(0, *n as u64, out),
            Self::Int(n) => head(1, !*n as u64, out),
            Self::Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
            Self::Bytes(bytes) => {
                head(2, bytes.len() as u64, out);
                out.extend(bytes);
            }
            Self::Text(text) => {
                head(3, text.len() as u64, out);
                out.extend(text.bytes());
            }
            Self::Array(values) => {
                out.push(0x9f);
                values.iter().for_each(|value| value.write(out));
                out.push(0xff);
            }
            Self::Map(members) => {
                out.push(0xbf);
                for (name, value) in members {
                    Self::Text((*name).into()).write(out);
                    value.write(out);
                }
                out.push(0xff);
            }
        }
    }
}

fn head(major: u8, n: u64, out: &mut Vec<u8>) {
    let major = major << 5;
    match n {
        0..24 => out.push(major | n as u8),
        24..0x100 => out.extend([major | 24, n as u8]),
        0x100..0x1_0000 => {
            out.push(major | 25);
            out.extend((n as u16).to_be_bytes());
        }
        _ => {
            out.push(major | 27);
            out.extend(n.to_be_bytes());
        }
    }
}

impl From<&str> for Cbor {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<uuid::Uuid> for Cbor {
    fn from(uuid: uuid::Uuid) -> Self {
        Self::Text(uuid.to_string())
    }
}

impl From<bool> for Cbor {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Cbor {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

impl<const N: usize> From<[Cbor; N]> for Cbor {
    fn from(values: [Cbor; N]) -> Self {
        Self::Array(values.into())
    }
}

/// `map! { "name" => value, ... }`, the members in this order.
macro_rules! map {
    ($($name:literal => $value:expr),* $(,)?) => {
        $crate::encoder::Cbor::Map(vec![$(($name, $crate::encoder::Cbor::from($value))),*])
    };
}
pub(crate) use map;
