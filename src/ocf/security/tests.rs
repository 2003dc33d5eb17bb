//! The rules of each resource, one by one; whole exchanges are in `tests/access`.
