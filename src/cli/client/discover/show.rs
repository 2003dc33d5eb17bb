//! The list of devices that were found.

use std::io::{IsTerminal, Write, stdout};
use std::net::SocketAddr;

use serde_json::json;

use crate::cli::width;
use crate::client::{Found, text};

const HEADINGS: [&str; 6] = ["NAME", "VERSION", "OWNED", "UPDATE", "ADDRESS", "DEVICE"];

/// Prints the devices to standard output.
pub(super) fn print(devices: &[Found], as_json: bool) -> std::io::Result<()> {
    let mut out = stdout().lock();
    if as_json {
        return devices.iter().try_for_each(|device| writeln!(out, "{}", line(device)));
    }
    if devices.is_empty() {
        return Ok(());
    }
    let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let text = table(devices, colours);
    let widest = table(devices, false).lines().map(|line| line.chars().count()).max();
    let fits = width::columns(&out).is_none_or(|columns| widest <= Some(columns));
    out.write_all(if fits { text } else { blocks(devices, colours) }.as_bytes())
}

fn line(device: &Found) -> serde_json::Value {
    let addresses: Vec<String> = device.addresses.iter().map(ToString::to_string).collect();
    json!({
        "di": device.di,
        "name": device.name,
        "addresses": addresses,
        "owned": device.owned,
        "ours": device.ours,
        "update": device.update,
        "version": device.version,
    })
}

fn table(devices: &[Found], colours: bool) -> String {
    let (bold, reset) = if colours { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let mut rows: Vec<[String; 6]> = vec![HEADINGS.map(str::to_owned)];
    for device in devices {
        rows.extend(lines(device));
    }
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let cells = cells.join("  ");
        let (on, off) = if number == 0 { (bold, reset) } else { ("", "") };
        text.push_str(&format!("{on}{}{off}\n", cells.trim_end()));
    }
    text
}

/// For a narrow screen: a few short lines for each device.
fn blocks(devices: &[Found], colours: bool) -> String {
    let (bold, reset) = if colours { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let mut text = String::new();
    for device in devices {
        let [name, version, owned, update, _, di] = lines(device).swap_remove(0);
        text.push_str(&format!("{bold}{name}{reset} {version}\n  {di}\n"));
        text.push_str(&format!("  owned: {owned}, update: {update}\n"));
        for address in &device.addresses {
            text.push_str(&format!("  {address}\n"));
        }
    }
    text
}

/// One line for each address; what has been said is not said again.
fn lines(device: &Found) -> Vec<[String; 6]> {
    let known = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let yes = |value| if value { "yes" } else { "no" }.to_owned();
    let update = match device.links_read {
        true => yes(device.update.is_some()),
        false => "-".into(),
    };
    let di = device.di.as_deref().map_or("speaks CoAP, not OCF".into(), text::printable);
    let first = |address: Option<&SocketAddr>| {
        [
            known(&device.name),
            known(&device.version),
            match device.owned {
                Some(true) if device.ours => "by us".into(),
                owned => owned.map_or("-".into(), yes),
            },
            update.clone(),
            address.map(ToString::to_string).unwrap_or_default(),
            di.clone(),
        ]
    };
    let mut lines = vec![first(device.addresses.first())];
    for address in device.addresses.iter().skip(1) {
        let mut row = [const { String::new() }; 6];
        row[4] = address.to_string();
        lines.push(row);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_lines_up_and_lists_further_addresses_below() {
        let camera = Found {
            di: Some("5f3c0000-0000-4000-8000-000000000001".into()),
            name: Some("Caméra".into()),
            addresses: vec![
                "10.0.0.1:40001".parse().unwrap(),
                "[fe80::1%2]:40002".parse().unwrap(),
            ],
            owned: Some(false),
            ours: false,
            update: Some("/softwareupdateResURI".into()),
            version: Some("1.0.0".into()),
            links_read: true,
        };
        let owned = Found { owned: Some(true), ours: true, ..camera.clone() };
        assert_eq!(lines(&owned)[0][2], "by us");
        let other = Found { addresses: vec!["10.0.0.2:5683".parse().unwrap()], ..Found::default() };
        assert_eq!(
            table(&[camera.clone(), other], false),
            "\
NAME    VERSION  OWNED  UPDATE  ADDRESS            DEVICE
Caméra  1.0.0    no     yes     10.0.0.1:40001     5f3c0000-0000-4000-8000-000000000001
                                [fe80::1%2]:40002
-       -        -      -       10.0.0.2:5683      speaks CoAP, not OCF
"
        );
        // Wider than many a screen; so this is what those get.
        let narrow = blocks(std::slice::from_ref(&camera), false);
        assert_eq!(
            narrow,
            "\
Caméra 1.0.0
  5f3c0000-0000-4000-8000-000000000001
  owned: no, update: yes
  10.0.0.1:40001
  [fe80::1%2]:40002
"
        );
        let json = line(&camera);
        assert_eq!(json["addresses"][1], "[fe80::1%2]:40002");
        assert_eq!(json["owned"], false);
    }
}
