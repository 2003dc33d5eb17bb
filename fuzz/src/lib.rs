//! The bodies of the fuzz targets, one module a room.

pub mod coap;
pub mod ocf;
pub mod package;
