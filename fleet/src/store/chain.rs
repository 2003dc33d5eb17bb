//! The audit's chain: each line's hash covers the line before, so that no line can be changed, left out
//! or put in without every later one saying so.

use ring::digest::{Context, SHA256};

use super::record::Line;

/// The hash before the first line.
pub const BEGIN: [u8; 32] = [0; 32];

/// The hash of a line that follows a line with the hash `before`.
pub fn link(before: &[u8; 32], line: &Line) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    context.update(before);
    context.update(&line.number.to_be_bytes());
    context.update(&line.at.to_be_bytes());
    for text in [&line.who, &line.action, &line.subject] {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text.as_bytes());
    }
    context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Where a chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// A line is missing or was put in.
    #[error("line {expected} of the audit is missing: line {found} stands in its place")]
    Gap {
        /// The number that had to come.
        expected: i64,
        /// The number that came.
        found: i64,
    },
    /// A line was changed.
    #[error("line {0} of the audit was changed: its hash does not follow from the line before")]
    Changed(i64),
    /// The last line is not the one that the head names.
    #[error("the audit ends at line {found}, but {expected} were written")]
    Cut {
        /// How many were written.
        expected: i64,
        /// How many are there.
        found: i64,
    },
}

/// Checks the lines that follow `number` and `hash`, and gives the last of them.
///
/// # Errors
///
/// The first place where the chain is broken.
pub fn check(
    mut number: i64,
    mut hash: [u8; 32],
    lines: &[Line],
) -> Result<(i64, [u8; 32]), Broken> {
    for line in lines {
        if line.number != number + 1 {
            return Err(Broken::Gap { expected: number + 1, found: line.number });
        }
        if link(&hash, line) != line.hash {
            return Err(Broken::Changed(line.number));
        }
        (number, hash) = (line.number, line.hash);
    }
    Ok((number, hash))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        let mut hash = BEGIN;
        (1..=5)
            .map(|number| {
                let mut line = Line {
                    number,
                    at: 100 + number,
                    who: "ann".into(),
                    action: "device.add".into(),
                    subject: format!("V{number}"),
                    hash: BEGIN,
                };
                line.hash = link(&hash, &line);
                hash = line.hash;
                line
            })
            .collect()
    }

    #[test]
    fn a_whole_chain_is_accepted_and_any_change_of_it_is_found() {
        let good = lines();
        assert_eq!(check(0, BEGIN, &good).unwrap().0, 5);
        for n in 0..good.len() {
            let mut changed = good.clone();
            changed[n].subject.push('x');
            assert_eq!(check(0, BEGIN, &changed), Err(Broken::Changed(n as i64 + 1)));
            let mut cut = good.clone();
            cut.remove(n);
            assert_eq!(check(0, BEGIN, &cut).is_err(), n + 1 < good.len(), "the end is the head's");
        }
    }

    #[test]
    fn who_and_what_cannot_be_shifted_into_each_other() {
        let mut line = lines().remove(0);
        let before = link(&BEGIN, &line);
        (line.who, line.action) = ("an".into(), "ndevice.add".into());
        assert_ne!(link(&BEGIN, &line), before);
    }
}
