//! The bodies of the fuzz targets, one module a room.

pub mod coap;
