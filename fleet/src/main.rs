//! `freshen-fleet`: see [`freshen_fleet`].

fn main() {}
