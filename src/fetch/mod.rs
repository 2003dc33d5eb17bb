//! This room
