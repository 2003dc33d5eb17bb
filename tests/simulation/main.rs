//! The engine in a world without weather forecasts: simulated disk, slots, releases, clocks and
//! power, all from one seed. After each event the invariants are checked; at the end the weather
//! clears and everything that was begun must come to its end.
//!
//! `SEEDS=200000 cargo test --release --test simulation` runs more seeds; `SEED=17` runs one and
//! prints its log.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod invariants;
mod world;

use world::World;

/// Seeds of an ordinary run.
const SEEDS: u64 = 10_000;
/// Events of one seed, before the weather clears.
const EVENTS: usize = 60;

fn live(seed: u64) -> World {
    let mut world = World::new(seed);
    for _ in 0..EVENTS {
        world.event();
        if std::env::var("SEED").is_ok() {
            world.log.drain(..).for_each(|line| println!("{line}"));
        }
        world.check();
    }
    world.calm();
    world.check();
    world.check_liveness();
    world
}

#[test]
fn every_seed_keeps_the_invariants_and_comes_to_its_end() {
    if let Some(seed) = number("SEED") {
        return println!("{}", live(seed).log.join("\n"));
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let mut seen = world::Seen::default();
    for seed in 0..seeds {
        let world = std::panic::catch_unwind(|| live(seed)).unwrap_or_else(|cause| {
            println!("seed {seed} fails; SEED={seed} cargo test --test simulation -- --nocapture");
            std::panic::resume_unwind(cause)
        });
        seen.add(&world.seen);
    }
    println!("{seeds} seeds: {seen:?}");
    assert!(seen.is_rich(seeds), "the weather was too mild to prove anything: {seen:?}");
}

/// The same life, cut after every single point where the power can fail.
#[test]
fn a_power_cut_at_every_point_of_an_upgrade_ends_in_old_or_new_software() {
    let mut points = 0;
    for cut in 0.. {
        let mut world = World::new(1);
        world.fuse = Some(cut);
        world.upgrade_once();
        let cut_happened = world.fuse.is_none();
        world.calm();
        world.check();
        world.check_liveness();
        if !cut_happened {
            break;
        }
        points += 1;
    }
    assert!(points > 30, "an upgrade has more points than {points}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}
