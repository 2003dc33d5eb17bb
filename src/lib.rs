//! freshen keeps the software of OCF devices fresh.
//!
//! The rooms, in reading order.
//!
//! Rooms that decide; they have no sockets, files, tasks or clock:
//!
//! - [`update`]: what the device should do next about its software: one pure `step`.
//! - [`package`]: what an update is, and whether to believe it.
//! - [`source`]: which URLs packages may come from.
//! - [`coap`]: a CoAP endpoint: datagrams and time in; requests, datagrams and a deadline out.
//! - [`dtls`]: secure sessions, one per peer, and who that peer turned out to be.
//! - [`coaps`]: a client's end of both: CoAP in clear and inside DTLS.
//! - [`ocf`]: the device's OCF face: resources, their words, who may touch them.
//!
//! Rooms that touch the world, one thing each:
//!
//! - [`clock`]: reads the time.
//! - [`net`]: UDP sockets and multicast groups.
//! - [`fetch`]: from a URL to a file of known length and digest.
//! - [`install`]: from a file to running software.
//! - [`store`]: records kept across power cuts.
//! - [`worker`]: what slow work and the loop that started it share: progress, and whether to stop.
//!
//! Rooms that put it together:
//!
//! - [`config`]: TOML to checked settings.
//! - [`device`]: owns the machines above and runs the one loop; decides nothing.
//! - [`client`]: asks, owns and updates devices, for the command line and for servers.
//! - [`cli`]: one file per command.
//!
//! The features `device`, `client` and `tool` leave out what a build does not need; without any, the rooms
//! are here that all of them stand on.
//!
//! `docs/architecture.md` has the arrows between them and the invariants that the tests hold.

#[cfg(feature = "device")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
pub mod coap;
pub mod coaps;
#[cfg(feature = "device")]
pub mod config;
#[cfg(feature = "device")]
pub mod device;
pub mod dtls;
pub mod fetch;
pub mod install;
pub mod net;
pub mod ocf;
pub mod package;
pub mod source;
pub mod store;
pub mod update;
pub mod worker;
