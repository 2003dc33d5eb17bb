//! Archives that want to leave the slot, or to be more than they say. A vendor's key is on them all:
//! this is what stands between a stolen or careless key and the rest of the device.

use tar::EntryType::{
    Block, Char, Continuous, Directory, Fifo, GNULongLink, GNULongName, GNUSparse, Link, Regular,
    XGlobalHeader, XHeader,
};

use super::*;

/// Unpacks beside a file that must not change, and returns the error.
fn attack(entries: &[TarEntry]) -> Error {
    let dir = memory_dir();
    fs::create_dir(dir.path().join("outside")).unwrap();
    fs::write(dir.path().join("outside/precious"), "precious").unwrap();
    let state = dir.path().join("state");
    let mut installer = open(&state);
    let archive = tar(entries);
    let error = write(&mut installer, &release(1, &[(&["x"], Format::Tar, &archive)])).unwrap_err();
    assert_eq!(names_in(&state.join("slots")), [""; 0], "nothing of it is left");
    assert_eq!(names_in(&dir.path().join("outside")), ["precious"]);
    let precious = fs::read_to_string(dir.path().join("outside/precious")).unwrap();
    assert_eq!(precious, "precious");
    error
}

fn file(name: &str) -> TarEntry {
    entry(name, Regular, b"bad")
}

fn pax(pairs: &[(&str, &str)]) -> TarEntry {
    let mut text = String::new();
    for (key, value) in pairs {
        let mut length = key.len() + value.len() + 3;
        length += (length + (length + 2).to_string().len()).to_string().len();
        text += &format!("{length} {key}={value}\n");
    }
    entry("pax", XHeader, text.as_bytes())
}

#[test]
fn no_name_leaves_the_slot() {
    for name in [
        "../outside/precious",
        "../../outside/precious",
        "a/../../../outside/x",
        "/tmp/x",
        "..",
        "a/..",
        "./../x",
        ".freshen/slot",
        "./.freshen/files",
        "a\nb",
        "",
        "x/../y",
    ] {
        let error = attack(&[file(name)]);
        assert!(matches!(error, Error::BadArchive { .. }), "{name}: {error:?}");
        let long =
            attack(&[entry("long", GNULongName, format!("{name}\0").as_bytes()), file("innocent")]);
        assert!(matches!(long, Error::BadArchive { .. }), "{name}: {long:?}");
        if !name.contains('\n') {
            let pax = attack(&[pax(&[("path", name)]), file("innocent")]);
            assert!(matches!(pax, Error::BadArchive { .. }), "{name}: {pax:?}");
        }
        let error = attack(&[entry(&format!("{name}/"), Directory, b""), file("../x")]);
        assert!(matches!(error, Error::BadArchive { .. }), "{name}: {error:?}");
    }
}

#[test]
fn no_link_leaves_the_slot_and_none_is_followed() {
    for target in ["../../outside", "/etc", "..", "a/../..", "a/..", "", ".freshen"] {
        let error = attack(&[link("up", target), file("up/precious")]);
        assert!(matches!(error, Error::BadArchive { .. }), "{target}: {error:?}");
        let long = entry("long", GNULongLink, format!("{target}\0").as_bytes());
        attack(&[long, link("up", "innocent"), file("up/precious")]);
        attack(&[pax(&[("linkpath", target)]), link("up", "innocent"), file("up/precious")]);
    }
    let through = attack(&[entry("d/", Directory, b""), link("up", "d"), file("up/x")]);
    assert!(matches!(through, Error::Disk { .. }), "{through:?}");
    let over = attack(&[link("up", "d"), file("up")]);
    assert!(matches!(over, Error::BadArchive { .. }), "{over:?}");
    attack(&[link("up", "d"), entry("up/", Directory, b"")]);
    attack(&[link("a", "b"), link("b", "a"), file("a/x")]);
}

#[test]
fn only_files_directories_and_links_are_made() {
    for kind in [Block, Char, Fifo, Link, GNUSparse] {
        let mut bad = entry("x", kind, b"");
        bad.header.set_device_major(1).unwrap();
        bad.header.set_device_minor(3).unwrap();
        let error = attack(&[bad]);
        assert!(matches!(error, Error::BadArchive { .. }), "{kind:?}: {error:?}");
    }
    let hard = {
        let mut hard = entry("x", Link, b"");
        hard.header.set_link_name("/etc/passwd").unwrap();
        hard
    };
    assert!(matches!(attack(&[hard]), Error::BadArchive { .. }));
    let sparse = attack(&[pax(&[("GNU.sparse.major", "1")]), file("x")]);
    assert!(matches!(sparse, Error::BadArchive { .. }), "{sparse:?}");
}

#[test]
fn nothing_comes_twice_and_nothing_lies_about_its_length() {
    assert!(matches!(attack(&[file("x"), file("x")]), Error::BadArchive { .. }));
    assert!(matches!(attack(&[file("x"), file("./x")]), Error::BadArchive { .. }));
    attack(&[file("x"), entry("x/", Directory, b"")]);
    attack(&[entry("x/", Directory, b""), file("x")]);
    attack(&[pax(&[("size", "1000000")]), file("x")]);
    let mut long = file("x");
    long.header.set_size(1 << 40);
    let error = attack(&[long]);
    assert!(matches!(error, Error::Unreadable(_)), "{error:?}");
}

#[test]
fn headers_that_would_fill_the_memory_are_refused() {
    let much = vec![b'a'; 1 << 20];
    for kind in [GNULongName, GNULongLink, XHeader, XGlobalHeader] {
        let error = attack(&[entry("x", kind, &much), file("y")]);
        assert!(matches!(error, Error::BadArchive { .. }), "{kind:?}: {error:?}");
    }
}

#[test]
fn every_flipped_bit_of_a_header_is_refused_or_stays_inside() {
    let dir = memory_dir();
    let archive = tar(&[file("a/b"), link("a/l", "b"), entry("c", Continuous, b"c")]);
    fs::write(dir.path().join("precious"), "precious").unwrap();
    for bit in 0..512 * 8 {
        let mut flipped = archive.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // With its checksum put right, or nothing behind that would be reached.
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(&flipped[..512]);
        header.set_cksum();
        flipped[..512].copy_from_slice(header.as_bytes());
        let mut installer = open(&dir.path().join("state"));
        let _ = write(&mut installer, &release(1, &[(&["x"], Format::Tar, &flipped)]));
        assert_eq!(names_in(dir.path()), ["precious", "state"], "bit {bit}");
        installer.discard().unwrap();
    }
}

#[test]
fn an_identifier_that_climbs_is_refused_like_a_name() {
    let dir = memory_dir();
    let mut installer = open(dir.path());
    for id in [&["..", "x"][..], &[".freshen", "slot"], &[""], &["a/../../b"], &["\0"]] {
        let error = write(&mut installer, &release(1, &[(id, Format::Raw, b"x")])).unwrap_err();
        assert!(matches!(error, Error::BadArchive { .. }), "{id:?}: {error:?}");
    }
}

#[test]
fn a_bomb_is_stopped_at_the_signed_bound() {
    let dir = memory_dir();
    let bomb = {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        let head = tar(&[{
            let mut big = entry("big", Regular, b"");
            big.header.set_size(1 << 33);
            big
        }]);
        std::io::Write::write_all(&mut encoder, &head[..512]).unwrap();
        std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 256 << 20), &mut encoder)
            .unwrap();
        encoder.finish().unwrap()
    };
    assert!(bomb.len() < 1 << 20);
    let format = Format::TarZstd { unpacked_bytes_max: 1 << 20 };
    let mut installer = open(dir.path());
    let error = write(&mut installer, &release(1, &[(&["x"], format, &bomb)])).unwrap_err();
    assert!(error.to_string().contains("more than was signed"), "{error}");
    assert_eq!(names_in(&dir.path().join("slots")), [""; 0]);
}
