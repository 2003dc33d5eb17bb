//! Who is in which wave. Shares go by a hash of the device's number that stays the same, so a wave
//! whose share grows keeps everybody it had.

use roaring::RoaringBitmap;
use serde::{Deserialize, Serialize};

use super::time::Time;
use super::words::DeviceId;

/// Who is in a wave, of those who are in none before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// These devices, as far as the campaign means them.
    List(Vec<DeviceId>),
    /// So many, whoever the hash puts first.
    Number(u32),
    /// The so many that were seen last.
    RecentlySeen(u32),
    /// So many of a hundred of all devices that the campaign means.
    Percent(u8),
    /// Everybody else.
    Rest,
}

/// What choosing has to know about devices.
pub struct Fleet<'a> {
    /// The number of a device.
    pub number: &'a dyn Fn(&DeviceId) -> Option<u32>,
    /// When a device was last seen.
    pub seen: &'a dyn Fn(u32) -> Option<Time>,
}

/// Where the hash of a campaign puts a device: a place that is as good as random, and always the same.
fn rank(device: u32, salt: u64) -> u64 {
    // The finalizer of splitmix64.
    let mut z =
        (u64::from(device) << 32 | u64::from(device)) ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Which of a hundred shares a device is in.
fn share(device: u32, salt: u64) -> u64 {
    ((u128::from(rank(device, salt)) * 100) >> 64) as u64
}

/// Puts each device in a wave. `salt` is the campaign's own, so that it is not always the same devices
/// that go first.
pub fn assign(
    choices: &[&Choice],
    devices: &RoaringBitmap,
    fleet: &Fleet<'_>,
    salt: u64,
) -> Vec<RoaringBitmap> {
    let mut rest = devices.clone();
    let mut from = 0;
    let mut waves = vec![];
    for choice in choices {
        let chosen: RoaringBitmap = match choice {
            Choice::List(ids) => ids.iter().filter_map(fleet.number).collect(),
            Choice::Number(count) => first(&rest, *count, |device| rank(device, salt)),
            Choice::RecentlySeen(count) => {
                let unseen_last = |device| std::cmp::Reverse((fleet.seen)(device));
                first(&rest, *count, |device| (unseen_last(device), rank(device, salt)))
            }
            Choice::Percent(percent) => {
                let shares = from..from + u64::from(*percent);
                from = shares.end;
                // In order, which is the fastest way into a bitmap.
                let chosen = rest.iter().filter(|device| shares.contains(&share(*device, salt)));
                RoaringBitmap::from_sorted_iter(chosen).unwrap_or_default()
            }
            Choice::Rest => rest.clone(),
        };
        let chosen = chosen & &rest;
        rest -= &chosen;
        waves.push(chosen);
    }
    waves
}

/// The wave of a device that joins later: the one whose share it is in, else the last. Lists and
/// numbers are for those who were there at the beginning.
pub fn joining(choices: &[&Choice], device: u32, salt: u64) -> usize {
    let share = share(device, salt);
    let mut end = 0;
    for (n, choice) in choices.iter().enumerate() {
        if let Choice::Percent(percent) = choice {
            end += u64::from(*percent);
            if share < end {
                return n;
            }
        }
    }
    choices.len().saturating_sub(1)
}

fn first<K: Ord>(devices: &RoaringBitmap, count: u32, key: impl Fn(u32) -> K) -> RoaringBitmap {
    let count = (count as usize).min(devices.len() as usize);
    let mut ranked: Vec<(K, u32)> = devices.iter().map(|device| (key(device), device)).collect();
    if count < ranked.len() {
        ranked.select_nth_unstable(count);
    }
    ranked.truncate(count);
    ranked.into_iter().map(|(_, device)| device).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fleet<'a>() -> Fleet<'a> {
        Fleet {
            number: &|id| id.as_str().parse().ok(),
            seen: &|device| device.is_multiple_of(2).then(|| Time::from_secs(device.into())),
        }
    }

    #[test]
    fn a_share_that_grows_keeps_everybody_it_had() {
        let devices: RoaringBitmap = (0..10_000).collect();
        let mut before = RoaringBitmap::new();
        for percent in 1..=100 {
            let waves = assign(&[&Choice::Percent(percent), &Choice::Rest], &devices, &fleet(), 7);
            assert!(before.is_subset(&waves[0]));
            let expected = f64::from(percent) * 100.0;
            assert!(
                (waves[0].len() as f64 - expected).abs() < 200.0,
                "{percent}: {}",
                waves[0].len()
            );
            before = waves[0].clone();
        }
        assert_eq!(before, devices);
        let other = assign(&[&Choice::Percent(10), &Choice::Rest], &devices, &fleet(), 8);
        let same = assign(&[&Choice::Percent(10), &Choice::Rest], &devices, &fleet(), 7);
        assert!((&other[0] & &same[0]).len() < 300, "other campaigns begin with others");
    }

    #[test]
    fn canaries_are_named_counted_or_seen_last() {
        let devices: RoaringBitmap = (0..100).collect();
        let named =
            Choice::List(vec!["7".parse().unwrap(), "500".parse().unwrap(), "x".parse().unwrap()]);
        let waves = assign(
            &[&named, &Choice::Number(3), &Choice::RecentlySeen(2), &Choice::Rest],
            &devices,
            &fleet(),
            1,
        );
        assert_eq!(waves[0], RoaringBitmap::from([7]));
        assert_eq!(waves[1].len(), 3);
        assert_eq!(waves[3].len(), 94);
        let waves = assign(&[&Choice::RecentlySeen(2), &Choice::Rest], &devices, &fleet(), 1);
        assert_eq!(waves[0], RoaringBitmap::from([96, 98]));
        let waves = assign(&[&Choice::Number(1_000), &Choice::Rest], &devices, &fleet(), 1);
        assert_eq!((waves[0].len(), waves[1].len()), (100, 0));
    }

    proptest! {
        #[test]
        fn everybody_is_in_exactly_one_wave(
            shares in proptest::collection::vec(1_u8..25, 0..4), number in 0_u32..50, salt in any::<u64>(),
            devices in proptest::collection::btree_set(0_u32..200_000, 0..200),
        ) {
            let devices: RoaringBitmap = devices.into_iter().collect();
            let mut choices = vec![Choice::Number(number)];
            choices.extend(shares.into_iter().map(Choice::Percent));
            choices.push(Choice::Rest);
            let choices: Vec<&Choice> = choices.iter().collect();
            let waves = assign(&choices, &devices, &fleet(), salt);
            let mut all = RoaringBitmap::new();
            for (n, wave) in waves.iter().enumerate() {
                prop_assert!(all.is_disjoint(wave));
                all |= wave;
                if n > 0 {
                    prop_assert!(wave.iter().all(|device| joining(&choices, device, salt) == n));
                }
            }
            prop_assert_eq!(all, devices);
        }
    }
}
