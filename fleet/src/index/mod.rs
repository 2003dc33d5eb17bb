//! This room holds what is in memory to decide fast: bitmaps over dense device numbers, one for each
//! package, component, tag and attribute, and the text of device ids. It is built from the store and
//! follows the events; it is never the truth.
